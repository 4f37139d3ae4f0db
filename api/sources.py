"""Streams that were asked for over HTTP and come in by themselves: their ports, deadlines and ends."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from api.errors import Busy, OfferRefused
from api.rtp_source import RtpOrder, RtpSource
from stream.errors import ServiceDraining, StreamExists, StreamUnknown
from stream.types import EndReason

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from api.peer import MediaSession
    from api.peers import Streams
    from stream.seams import SourceControl
    from stream.session import StreamSpec

_CHECK_EVERY_S = 0.5
_RETRY_AFTER_S = 5


@dataclass(frozen=True, slots=True)
class SourcesConfig:
    """`host` is where ports are opened; `first_s` is how long a sender may take to begin, `silence_s` to go on."""

    host: str = "127.0.0.1"
    is_loopback: bool = True
    udp_ports: tuple[int, int] | None = None
    max_sources: int = 64
    first_s: float = 60.0
    silence_s: float = 10.0


class Sources:
    """Used from one event loop."""

    def __init__(self, config: SourcesConfig, streams: Streams) -> None:
        self._config = config
        self._streams = streams
        self._sources: dict[str, RtpSource] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._watch: asyncio.Task[None] | None = None
        self._closed = False

    def __contains__(self, stream: str) -> bool:
        return stream in self._sources

    async def listen(self, order: RtpOrder, port: int | None) -> int:
        """Opens a port for RTP, this one or any that is free and allowed; which one. Raises OfferRefused, StreamExists,
        Busy, ServiceFull, ServiceDraining."""
        self._admit(order)
        source = RtpSource(order, self)
        self._sources[order.spec.stream] = source
        try:
            await self._open(source, port)
        except BaseException:
            self.forget(source)
            raise
        if self._watch is None:
            self._watch = asyncio.get_running_loop().create_task(self._end_overdue())
        return source.port

    async def stop(self, stream: str) -> None:
        """Raises StreamUnknown."""
        source = self._sources.get(stream)
        if source is None:
            raise StreamUnknown(f"no stream {stream!r} is awaited")
        await source.finish(EndReason.STOPPED)

    async def close(self) -> None:
        """Ends all and takes no new ones. Idempotent."""
        self._closed = True
        for source in tuple(self._sources.values()):
            self.spawn(source.finish(EndReason.SHUTDOWN))
        while self._tasks:
            await asyncio.gather(*self._tasks)
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
            self._watch = None

    def open(self, spec: StreamSpec, control: SourceControl) -> MediaSession:
        return self._streams.open(spec, control)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def forget(self, source: RtpSource) -> None:
        if self._sources.get(source.order.spec.stream) is source:
            del self._sources[source.order.spec.stream]

    def _admit(self, order: RtpOrder) -> None:
        if self._closed:
            raise ServiceDraining("the service is shutting down")
        if order.spec.stream in self._sources:
            raise StreamExists(f"stream {order.spec.stream!r} is awaited")
        if not order.sender and not self._config.is_loopback:
            raise OfferRefused(422, "sender_missing", "say in `from` which address sends: RTP does not prove it")
        waiting = sum(not source.is_heard for source in self._sources.values())
        self._streams.check_admission(order.spec.stream, waiting)
        if len(self._sources) >= self._config.max_sources:
            raise Busy("sources_full", "the limit of sources at the same time is reached", _RETRY_AFTER_S)

    async def _open(self, source: RtpSource, port: int | None) -> None:
        loop = asyncio.get_running_loop()
        low, high = self._config.udp_ports or (0, 0)
        for candidate in (port,) if port is not None else range(low, high + 1):
            try:
                await loop.create_datagram_endpoint(lambda: source, local_addr=(self._config.host, candidate))
            except OSError:
                continue
            return
        if port is not None:
            raise OfferRefused(409, "port_taken", f"UDP port {port} cannot be opened")
        raise Busy("no_ports", "no network port is free for this stream", _RETRY_AFTER_S)

    async def _end_overdue(self) -> None:
        """Runs while there is anybody to wait for."""
        while self._sources:
            await asyncio.sleep(_CHECK_EVERY_S)
            now_s = time.monotonic()
            for source in self._sources.values():
                if source.is_heard and now_s - source.heard_s > self._config.silence_s:
                    self.spawn(source.finish(EndReason.SILENT))
                elif not source.is_heard and now_s - source.created_s > self._config.first_s:
                    self.spawn(source.finish(EndReason.NEVER_CONNECTED))
        self._watch = None
