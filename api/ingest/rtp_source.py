"""Plain RTP on one UDP port into one stream, as SFUs forward it (Janus `rtp_forward`, mediasoup `PlainTransport`).

Nothing in plain RTP proves who sent it, so packets of one address alone are taken: the one that the operator named, or
the first that sends where only this machine can.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import structlog
from aiortc.rtp import RtpPacket, is_rtcp

from api.ingest.live_source import LiveSource
from api.ingest.rtp_packets import BROKEN, fragment_of, is_latch, picture_loss, says_goodbye
from stream.sources.rtp_video import VideoTrack
from stream.types import EndReason

if TYPE_CHECKING:
    from api.ingest.live_source import Owner
    from stream.stream_session import StreamSpec

log = structlog.get_logger(__name__)

_ASK_EVERY_S = 0.5


class RtpOrder(NamedTuple):
    """What comes in: `sender` is the only address that is listened to, or empty for the first that sends;
    `payload_type` None takes all."""

    spec: StreamSpec
    sender: str = ""
    payload_type: int | None = None


class RtpLimits(NamedTuple):
    """`first_s` is how long a sender may take to begin, `silence_s` to go on."""

    first_s: float = 60.0
    silence_s: float = 10.0


class RtpSource(LiveSource, asyncio.DatagramProtocol):
    """From the open port to the end."""

    def __init__(self, order: RtpOrder, limits: RtpLimits, owner: Owner) -> None:
        super().__init__(order.spec.stream, owner)
        self.order = order
        self.is_heard = False
        self._heard_s = self.created_s
        self._limits = limits
        self._track = VideoTrack(order.spec.codec, self)
        self._transport: asyncio.DatagramTransport | None = None
        self._sender: tuple[Any, ...] | None = None
        self._listener: tuple[Any, ...] | None = None      # where the forwarder's RTCP comes from
        self._asked_s = float("-inf")
        self._shut = asyncio.Event()

    @property
    def spec(self) -> StreamSpec:
        return self.order.spec

    @property
    def port(self) -> int:
        """Where it listens; 0 before and after."""
        address = self._transport.get_extra_info("sockname") if self._transport is not None else None
        return int(address[1]) if address else 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._shut.set()

    def datagram_received(self, data: bytes, address: tuple[Any, ...]) -> None:
        if self.is_over or address[0] != (self.order.sender or (self._sender or address)[0]):
            return
        try:
            if is_rtcp(data):
                if says_goodbye(data, self._track.ssrc):
                    self.end_soon(EndReason.PUBLISHER_LEFT)
                self._listener = address
            elif is_latch(packet := RtpPacket.parse(data)):
                self._listener = address
            elif self._media(packet):
                self._sender = address
        except BROKEN:
            return      # no RTP

    def ask_keyframe(self, ssrc: int) -> None:
        """By RTCP, to where the sender's comes from, or else to where the media does. Not every forwarder listens."""
        now_s = time.monotonic()
        if self._transport is not None and self._sender is not None and now_s - self._asked_s >= _ASK_EVERY_S:
            self._asked_s = now_s
            listens = self._listener is not None and self._listener[0] == self._sender[0]
            self._transport.sendto(picture_loss(ssrc), self._listener if listens else self._sender)

    def request_keyframe(self) -> None:
        if self._track.ssrc is not None:
            self.ask_keyframe(self._track.ssrc)

    def overdue(self, now_s: float) -> EndReason | None:
        if self.is_heard:
            return EndReason.SILENT if now_s - self._heard_s > self._limits.silence_s else None
        return EndReason.NEVER_CONNECTED if now_s - self.created_s > self._limits.first_s else None

    async def _hang_up(self, reason: EndReason) -> None:
        if self._transport is not None:
            self._transport.close()
            await self._shut.wait()     # the port is free from here on
        log.info("rtp over", stream=self.stream, reason=reason.value, frames=self._track.frames_whole)

    def _media(self, packet: RtpPacket) -> bool:
        """Whether it is media of this stream. Raises BROKEN."""
        now_s = time.monotonic()
        fragment = fragment_of(packet, self.order.spec.codec, self.order.payload_type, now_s)
        if fragment is None:
            return False
        self._heard_s, self.is_heard = now_s, True
        self._track.take(fragment)
        return True
