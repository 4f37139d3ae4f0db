"""What the routes share. Made once, by `api.app`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection

    from api.auth import KeyRing
    from api.health import LoopWatch
    from api.jobs import JobTable
    from api.judging import Judging
    from api.limits import Limiter
    from api.peers import Peers
    from api.settings import Settings
    from api.uploads import Spool
    from stream.bus import Bus
    from stream.service import StreamService


@dataclass(frozen=True)
class AppContext:
    """`request.app.state.context`; lives as long as the app does."""

    settings: Settings
    service: StreamService
    bus: Bus
    peers: Peers
    auth: KeyRing
    limiter: Limiter
    spool: Spool
    judging: Judging
    jobs: JobTable
    loop_watch: LoopWatch


def context_of(connection: HTTPConnection) -> AppContext:
    """The context of the app that serves this request or WebSocket."""
    context: AppContext = connection.app.state.context
    return context
