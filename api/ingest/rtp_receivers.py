"""Streams that were asked for over HTTP and come in by themselves: their ports, deadlines and ends."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from api.errors import Busy, OfferRefused
from api.ingest.registry import Keeper
from api.ingest.rtp_source import RtpLimits, RtpOrder, RtpSource
from stream.errors import StreamUnknown
from stream.types import EndReason

if TYPE_CHECKING:
    from api.ingest.live_source import Streams

_RETRY_AFTER_S = 5


@dataclass(frozen=True, slots=True)
class SourcesConfig:
    """`host` is where ports are opened."""

    host: str = "127.0.0.1"
    is_loopback: bool = True
    udp_ports: tuple[int, int] | None = None
    max_sources: int = 64
    rtp: RtpLimits = field(default_factory=RtpLimits)


class Sources(Keeper[RtpSource]):
    """Used from one event loop."""

    def __init__(self, config: SourcesConfig, streams: Streams) -> None:
        super().__init__(streams)
        self._config = config

    async def listen(self, order: RtpOrder, port: int | None) -> int:
        """Opens a port for RTP, this one or any that is free and allowed; which one. Raises OfferRefused, StreamExists,
        Busy, ServiceFull, ServiceDraining."""
        self._admit(order)
        source = RtpSource(order, self._config.rtp, self)
        self.keep(source)
        try:
            await self._open(source, port)
        except BaseException:
            self.forget(source)
            raise
        return source.port

    async def stop(self, stream: str) -> None:
        """Raises StreamUnknown."""
        source = self.get(stream)
        if source is None:
            raise StreamUnknown(f"no stream {stream!r} is awaited")
        await source.finish(EndReason.STOPPED)

    def _admit(self, order: RtpOrder) -> None:
        self.check(order.spec.stream)
        if not order.sender and not self._config.is_loopback:
            raise OfferRefused(422, "sender_missing", "say in `from` which address sends: RTP does not prove it")
        self.check_admission(order.spec.stream)
        if len(self) >= self._config.max_sources:
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
