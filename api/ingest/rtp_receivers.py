"""Receivers of plain RTP, started by `POST /v1/streams`: admission and UDP ports."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from api.errors import Busy, OfferRefused
from api.ingest.live_source import SourceKind
from api.ingest.registry import Quota
from api.ingest.rtp_receiver import RtpReceiver, RtpRequest, RtpTimeouts

if TYPE_CHECKING:
    from api.ingest.registry import SourceRegistry

_RETRY_AFTER_S = 5


@dataclass(frozen=True, slots=True)
class RtpConfig:
    """`host` is the address that UDP ports are opened on; without `udp_ports`, the system chooses them."""

    host: str = "127.0.0.1"
    is_loopback: bool = True
    udp_ports: tuple[int, int] | None = None
    max_sources: int = 64
    timeouts: RtpTimeouts = field(default_factory=RtpTimeouts)
    max_sources_per_caller: int | None = None


class RtpReceivers:
    """Starts RTP receivers in the registry. Used from one event loop."""

    def __init__(self, config: RtpConfig, registry: SourceRegistry) -> None:
        self._config = config
        self._registry = registry

    async def listen(self, request: RtpRequest, port: int | None, caller: str = "") -> int:
        """Opens this UDP port, or any that is free and allowed, and returns its number.

        `caller` is the API key or address that the limits count by.

        Raises OfferRefused, StreamExists, Busy, ServiceFull, ServiceDraining.
        """
        config = self._config
        if not request.sender and not config.is_loopback:
            raise OfferRefused(
                422, "sender_missing", "RTP does not prove who sends it; set `from` to the address that sends"
            )
        quota = Quota(SourceKind.RTP, config.max_sources, config.max_sources_per_caller)
        self._registry.admit(request.identity.stream, quota, caller)
        receiver = RtpReceiver(request, config.timeouts, self._registry, caller)
        self._registry.add(receiver)
        try:
            await self._bind(receiver, port)
        except BaseException:
            self._registry.forget(receiver)
            raise
        return receiver.port

    async def _bind(self, receiver: RtpReceiver, port: int | None) -> None:
        loop = asyncio.get_running_loop()
        low, high = self._config.udp_ports or (0, 0)
        for candidate in (port,) if port is not None else range(low, high + 1):
            try:
                await loop.create_datagram_endpoint(lambda: receiver, local_addr=(self._config.host, candidate))
            except OSError:
                continue
            return
        if port is not None:
            raise OfferRefused(409, "port_taken", f"UDP port {port} cannot be opened")
        raise Busy("no_ports", "no network port is free for this stream", _RETRY_AFTER_S)
