"""Registry of all live sources by stream id: admission, deadlines, listing and ending, for every kind alike."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from typing import TYPE_CHECKING, NamedTuple

from api.errors import Busy
from api.ingest.live_source import SourceKind, SourceState
from stream.errors import ServiceDraining, StreamExists
from stream.types import EndReason

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from typing import Any

    from api.ingest.live_source import LiveSource, LiveStreams, MediaSession, SourceStatus
    from stream.protocols import SourceControl
    from stream.stream_session import StreamSpec

_CHECK_EVERY_S = 0.5
_RETRY_AFTER_S = 5
_ARRIVING_OF_OTHERS = 2
_RETRY_PENDING_S = 2
_FAILED_SHOWN_S = 60.0
_FAILED_SHOWN = 64
_FULL = {
    SourceKind.WHIP: ("sessions_full", "the limit of sessions at the same time is reached"),
    SourceKind.RTP: ("sources_full", "the limit of sources at the same time is reached"),
    SourceKind.PULL: ("sources_full", "the limit of sources at the same time is reached"),
}


class Quota(NamedTuple):
    """Limits of one kind of source. None is no limit; `max_pending` counts sources that are not connected yet.

    `max_per_caller` counts the sources of every kind.
    """

    kind: SourceKind
    max_sources: int
    max_per_caller: int | None = None
    max_pending: int | None = None


class SourceRegistry:
    """The one owner of all live sources (`api.ingest.live_source.SourceOwner`). Used from one event loop."""

    def __init__(self, streams: LiveStreams) -> None:
        self._streams = streams
        self._sources: dict[str, LiveSource] = {}
        self._failed: deque[tuple[float, SourceStatus]] = deque(maxlen=_FAILED_SHOWN)
        self._tasks: set[asyncio.Task[None]] = set()
        self._watch: asyncio.Task[None] | None = None
        self._closed = False

    def __len__(self) -> int:
        return len(self._sources)

    def __iter__(self) -> Iterator[LiveSource]:
        return iter(tuple(self._sources.values()))

    def __contains__(self, stream: str) -> bool:
        return stream in self._sources

    def get(self, stream: str) -> LiveSource | None:
        return self._sources.get(stream)

    def of_kind(self, kind: SourceKind) -> list[LiveSource]:
        return [source for source in self if source.kind is kind]

    def list(self) -> list[SourceStatus]:
        """Returns running sources in the order of their admission, then those that failed in the last minute."""
        now_s = time.monotonic()
        failed = [status for until_s, status in self._failed if until_s > now_s and status.identity.stream not in self]
        return [source.status(now_s) for source in self] + failed

    def admit(self, stream: str, quota: Quota, caller: str = "") -> None:
        """Checks that a source for this stream may start.

        Raises ServiceDraining, StreamExists, ServiceFull, or Busy where the quota is used up.
        """
        if self._closed:
            raise ServiceDraining("the service is shutting down")
        if stream in self._sources:
            raise StreamExists(f"stream {stream!r} has a source")
        self._streams.check_admission(stream, self._arriving(caller))
        same_kind = self.of_kind(quota.kind)
        same_caller = sum(source.caller == caller for source in self)
        is_caller_full = quota.max_per_caller is not None and same_caller >= quota.max_per_caller
        if len(same_kind) >= quota.max_sources or is_caller_full:
            raise Busy(*_FULL[quota.kind], _RETRY_AFTER_S)
        if quota.max_pending is not None and sum(source.is_pending for source in same_kind) >= quota.max_pending:
            raise Busy("sessions_pending", "too many publishers are connecting at this moment", _RETRY_PENDING_S)

    def _arriving(self, caller: str) -> int:
        """Returns the number of sources that count as starting for `caller`.

        Of every other caller only a few count: none keeps the others out by starting sources that never send.
        """
        now_s = time.monotonic()
        arriving = Counter(source.caller for source in self if source.is_arriving(now_s))
        own = arriving.pop(caller, 0)
        return own + sum(min(number, _ARRIVING_OF_OTHERS) for number in arriving.values())

    def add(self, source: LiveSource) -> None:
        """Reserves the stream id for this source and watches its deadlines from here on."""
        self._sources[source.stream] = source
        if self._watch is None:
            self._watch = asyncio.get_running_loop().create_task(self._end_overdue())

    def open(self, spec: StreamSpec, control: SourceControl) -> MediaSession:
        """Raises StreamError."""
        return self._streams.open(spec, control)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def forget(self, source: LiveSource) -> None:
        """Frees the stream id; a failed source stays in the list for a minute."""
        if self._sources.get(source.stream) is source:
            del self._sources[source.stream]
            if source.state is SourceState.FAILED:
                now_s = time.monotonic()
                self._failed.append((now_s + _FAILED_SHOWN_S, source.status(now_s)))

    async def stop(self, stream: str) -> None:
        """Ends the source of this stream, and the stream if it is open; returns after its last verdict.

        Raises StreamUnknown.
        """
        source = self._sources.get(stream)
        if source is not None:
            await source.finish(EndReason.STOPPED)
        else:
            await self._streams.stop(stream, EndReason.STOPPED)

    async def close(self) -> None:
        """Ends all sources and admits no new ones. Idempotent."""
        self._closed = True
        for source in self:
            self.spawn(source.finish(EndReason.SHUTDOWN))
        while self._tasks:
            await asyncio.gather(*self._tasks)
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
            self._watch = None

    async def _end_overdue(self) -> None:
        """Runs while there are sources."""
        while self._sources:
            await asyncio.sleep(_CHECK_EVERY_S)
            now_s = time.monotonic()
            for source in self:
                reason = source.overdue(now_s)
                if reason is not None:
                    source.end_soon(reason)
        self._watch = None
