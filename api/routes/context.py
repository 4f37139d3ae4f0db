"""Application context: the components that routes use. Built once, by `api.app`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection

    from api.http.auth import KeyRing
    from api.http.loop_lag import LoopLagMonitor
    from api.http.rate_limit import RateLimiter
    from api.http.request_counts import RequestCounts
    from api.incidents.lifecycle import IncidentService
    from api.ingest.pull.pulled_sources import PulledSources
    from api.ingest.registry import SourceRegistry
    from api.ingest.rtp_receivers import RtpReceivers
    from api.ingest.whip.sessions import WhipSessions
    from api.settings.base import Settings
    from api.uploads.file_jobs import FileJobs
    from api.uploads.job_table import JobTable
    from api.uploads.spool import Spool
    from consumers.gateway import Gateway
    from stream.event_bus import EventBus
    from stream.stream_service import StreamService


@dataclass(frozen=True)
class AppContext:
    """The value of `request.app.state.context`. Lives as long as the app."""

    settings: Settings
    service: StreamService
    bus: EventBus
    sources: SourceRegistry
    whip_sessions: WhipSessions
    rtp_receivers: RtpReceivers
    pulled_sources: PulledSources
    auth: KeyRing
    request_counts: RequestCounts
    limiter: RateLimiter
    spool: Spool
    file_jobs: FileJobs
    jobs: JobTable
    loop_lag: LoopLagMonitor
    incidents: IncidentService
    gateway: Gateway | None = None
    watchers: dict[object, str] = field(default_factory=dict)       # the caller of each

    @property
    def is_local_only(self) -> bool:
        """Whether the service has no API keys and accepts requests from this machine only."""
        return self.settings.is_local_only

    @property
    def allowed_origins(self) -> frozenset[str]:
        """Other origins whose pages may call the service."""
        return frozenset(self.settings.cors_origins) | frozenset(self.settings.origins)


def context_of(connection: HTTPConnection) -> AppContext:
    """Returns the context of the app that serves this request or WebSocket."""
    context: AppContext = connection.app.state.context
    return context
