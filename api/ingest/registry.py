"""Sources of live streams by stream id: one each, watched for deadlines, ended together."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Generic, TypeVar

from api.ingest.live_source import LiveSource
from stream.errors import ServiceDraining, StreamExists
from stream.types import EndReason

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from typing import Any

    from api.ingest.live_source import MediaSession, Streams
    from stream.protocols import SourceControl
    from stream.stream_session import StreamSpec

_CHECK_EVERY_S = 0.5

Source = TypeVar("Source", bound=LiveSource)


class Keeper(Generic[Source]):
    """Used from one event loop. What is in it is `api.ingest.live_source.Owner` of its sources."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._kept: dict[str, Source] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._watch: asyncio.Task[None] | None = None
        self._closed = False

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[Source]:
        return iter(tuple(self._kept.values()))

    def __contains__(self, stream: str) -> bool:
        return stream in self._kept

    def get(self, stream: str) -> Source | None:
        return self._kept.get(stream)

    def check(self, stream: str) -> None:
        """Whether a source for this stream may come. Raises ServiceDraining, StreamExists."""
        if self._closed:
            raise ServiceDraining("the service is shutting down")
        if stream in self._kept:
            raise StreamExists(f"stream {stream!r} has a source")

    def check_admission(self, stream: str) -> None:
        """As the service's, which knows nothing yet of those that are arriving. Raises StreamExists, ServiceFull,
        ServiceDraining."""
        now_s = time.monotonic()
        self._streams.check_admission(stream, sum(source.is_arriving(now_s) for source in self))

    def keep(self, source: Source) -> None:
        """Takes the stream id, and watches the deadlines from here on."""
        self._kept[source.stream] = source
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
        if self._kept.get(source.stream) is source:
            del self._kept[source.stream]

    async def close(self) -> None:
        """Ends all and takes no new ones. Idempotent."""
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
        """Runs while there is anybody to wait for."""
        while self._kept:
            await asyncio.sleep(_CHECK_EVERY_S)
            now_s = time.monotonic()
            for source in self:
                reason = source.overdue(now_s)
                if reason is not None:
                    source.end_soon(reason)
        self._watch = None
