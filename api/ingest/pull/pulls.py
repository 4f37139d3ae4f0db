"""All pulled sources: which may be started, and what is known of them."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from api.errors import Busy
from api.ingest.aiortc_patches import Network
from api.ingest.pull.dialer import Dialer
from api.ingest.pull.hls_http import DemuxedAttempt
from api.ingest.pull.puller import Pull, PullConfig, PullOrder, PullState
from api.ingest.pull.rtmp import RtmpAttempt
from api.ingest.pull.rtsp import RtspAttempt
from api.ingest.pull.whep import WhepAttempt
from api.ingest.registry import Keeper
from stream.errors import StreamUnknown
from stream.types import EndReason

if TYPE_CHECKING:
    from api.ingest.live_source import LiveSource, Streams
    from api.ingest.pull.puller import Attempt
    from api.ingest.pull.url_policy import Place

_RETRY_AFTER_S = 5
_FAILED_KEPT_S = 60.0
_FAILED_KEPT = 64
_KINDS = {"rtsp": "rtsp", "rtsps": "rtsp", "rtmp": "rtmp", "rtmps": "rtmp"}


@dataclass(frozen=True, slots=True)
class PullsConfig:
    """Bounds of all pulled sources."""

    max_sources: int = 64
    dialer: Dialer = field(default_factory=Dialer)
    pull: PullConfig = field(default_factory=PullConfig)
    network: Network = field(default_factory=lambda: Network(loopback=False))


class Who(NamedTuple):
    """Whose stream it becomes."""

    stream: str
    call_id: str = ""
    participant_id: str = ""


class PullStatus(NamedTuple):
    """One source as lists show it. `problem` is `code` and `message` of the last failure."""

    stream: str
    source: str
    host: str
    call_id: str
    participant_id: str
    state: PullState
    attempts: int
    retry_in_s: float | None
    problem: dict[str, str] | None


class Pulls(Keeper[Pull]):
    """Used from one event loop."""

    def __init__(self, config: PullsConfig, streams: Streams) -> None:
        super().__init__(streams)
        self._config = config
        self._failed: deque[tuple[float, Pull]] = deque(maxlen=_FAILED_KEPT)

    async def pull(self, who: Who, url: str) -> PullOrder:
        """Starts to fetch. Raises PullRefused for an address that may not be fetched, StreamExists, Busy, ServiceFull,
        ServiceDraining."""
        place = self._dialer.policy.check(url)
        attempt = _attempt(place, url, self._dialer)
        await self._admit(who, place)
        return self._start(who, place, _KINDS.get(place.scheme) or _http_kind(place), attempt)

    async def whep(self, who: Who, url: str, token: str) -> PullOrder:
        """Starts to receive from an SFU. Raises as `pull`."""
        place = self._dialer.policy.check(url, ("http", "https"))
        await self._admit(who, place)
        return self._start(who, place, "whep", WhepAttempt(url, token, self._dialer, self._config.network))

    async def stop(self, stream: str) -> None:
        """Raises StreamUnknown."""
        source = self.get(stream)
        if source is None:
            raise StreamUnknown(f"no stream {stream!r} is fetched")
        await source.finish(EndReason.STOPPED)

    def forget(self, source: LiveSource) -> None:
        super().forget(source)
        if isinstance(source, Pull) and source.state is PullState.FAILED:
            self._failed.append((time.monotonic() + _FAILED_KEPT_S, source))

    def list(self) -> list[PullStatus]:
        """Those that are at work, then those that failed in the last minute."""
        now_s = time.monotonic()
        failed = (source for until_s, source in self._failed if until_s > now_s and source.stream not in self)
        return [_status(source, now_s) for source in (*self, *failed)]

    @property
    def _dialer(self) -> Dialer:
        return self._config.dialer

    async def _admit(self, who: Who, place: Place) -> None:
        self._check_room(who)
        await self._dialer.address_of(place)
        self._check_room(who)       # others may have come meanwhile

    def _check_room(self, who: Who) -> None:
        self.check(who.stream)
        self.check_admission(who.stream)
        if len(self) >= self._config.max_sources:
            raise Busy("sources_full", "the limit of sources at the same time is reached", _RETRY_AFTER_S)

    def _start(self, who: Who, place: Place, kind: str, attempt: Attempt) -> PullOrder:
        order = PullOrder(who.stream, kind, place.authority, who.call_id, who.participant_id)
        source = Pull(order, attempt, self._config.pull, self)
        self.keep(source)
        source.start()
        return order


def _attempt(place: Place, url: str, dialer: Dialer) -> Attempt:
    match _KINDS.get(place.scheme):
        case "rtsp":
            return RtspAttempt(place, dialer)
        case "rtmp":
            return RtmpAttempt(place, dialer)
    return DemuxedAttempt(url, dialer)


def _http_kind(place: Place) -> str:
    return "hls" if place.target.partition("?")[0].lower().endswith((".m3u8", ".m3u")) else "http"


def _status(source: Pull, now_s: float) -> PullStatus:
    failed = source.problem
    problem = None if failed is None else {"code": failed.code, "message": failed.message}
    retry_in_s = None if source.next_s is None else round(max(0.0, source.next_s - now_s), 1)
    order = source.order
    return PullStatus(
        order.stream, order.source, order.host, order.call_id, order.participant_id, source.state, source.attempts,
        retry_in_s, problem,
    )
