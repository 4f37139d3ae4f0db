"""Receiver of plain RTP on one UDP port, as SFUs forward it (Janus `rtp_forward`, mediasoup `PlainTransport`).

Plain RTP does not authenticate its sender, so a receiver accepts packets from one address only: the one that the
operator named or, on loopback, the first that sends media.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import structlog
from aiortc.rtp import RtpPacket, is_rtcp

from api.ingest.live_source import LiveSource, SourceKind
from api.ingest.rtp_packets import BROKEN, fragment_of, is_latch, picture_loss, says_goodbye
from stream.sources.rtp_video import VideoTrack
from stream.stream_session import StreamSpec
from stream.types import EndReason

if TYPE_CHECKING:
    from api.ingest.live_source import SourceOwner
    from stream.identity import StreamIdentity
    from stream.types import Codec

log = structlog.get_logger(__name__)

_ASK_EVERY_S = 0.5


class RtpRequest(NamedTuple):
    """The RTP to accept. An empty `sender` accepts the first address that sends; `payload_type` None accepts all."""

    identity: StreamIdentity
    codec: Codec
    sender: str = ""
    payload_type: int | None = None


class RtpTimeouts(NamedTuple):
    """Seconds without media after which a receiver ends: `first_s` before the first packet, `silence_s` later."""

    first_s: float = 60.0
    silence_s: float = 10.0


class RtpReceiver(LiveSource, asyncio.DatagramProtocol):
    """One UDP port and the stream that its media opens."""

    kind = SourceKind.RTP

    def __init__(self, request: RtpRequest, timeouts: RtpTimeouts, owner: SourceOwner, caller: str = "") -> None:
        super().__init__(request.identity, owner, protocol="rtp", host=request.sender, caller=caller)
        self.is_heard = False
        self._request = request
        self._heard_s = self.created_s
        self._timeouts = timeouts
        self._track = VideoTrack(request.codec, self)
        self._transport: asyncio.DatagramTransport | None = None
        self._sender: tuple[Any, ...] | None = None
        self._rtcp_address: tuple[Any, ...] | None = None      # where the forwarder sends its RTCP from
        self._asked_s = float("-inf")
        self._shut = asyncio.Event()

    @property
    def spec(self) -> StreamSpec:
        return StreamSpec(identity=self.identity, source=self.protocol, codec=self._request.codec)

    @property
    def port(self) -> int:
        """The UDP port; 0 before it is open and after it is closed."""
        address = self._transport.get_extra_info("sockname") if self._transport is not None else None
        return int(address[1]) if address else 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._shut.set()

    def datagram_received(self, data: bytes, address: tuple[Any, ...]) -> None:
        if self.is_over or address[0] != (self._request.sender or (self._sender or address)[0]):
            return
        try:
            if is_rtcp(data):
                if says_goodbye(data, self._track.ssrc):
                    self.end_soon(EndReason.PUBLISHER_LEFT)
                self._rtcp_address = address
            elif is_latch(packet := RtpPacket.parse(data)):
                self._rtcp_address = address
            elif self._media(packet):
                self._sender = address
        except BROKEN:
            return      # not RTP

    def ask_keyframe(self, ssrc: int) -> None:
        """Sends a PLI to the sender's RTCP address or, if unknown, its media address. Not every forwarder reads it."""
        now_s = time.monotonic()
        if self._transport is not None and self._sender is not None and now_s - self._asked_s >= _ASK_EVERY_S:
            self._asked_s = now_s
            has_rtcp = self._rtcp_address is not None and self._rtcp_address[0] == self._sender[0]
            self._transport.sendto(picture_loss(ssrc), self._rtcp_address if has_rtcp else self._sender)

    def request_keyframe(self) -> None:
        if self._track.ssrc is not None:
            self.ask_keyframe(self._track.ssrc)

    def overdue(self, now_s: float) -> EndReason | None:
        if self.is_heard:
            return EndReason.SILENT if now_s - self._heard_s > self._timeouts.silence_s else None
        return EndReason.NEVER_CONNECTED if now_s - self.created_s > self._timeouts.first_s else None

    async def _close_connection(self, reason: EndReason) -> None:
        if self._transport is not None:
            self._transport.close()
            await self._shut.wait()     # the port is free after this
        log.info("rtp receiver ended", stream=self.stream, reason=reason.value, frames=self._track.frames_whole)

    def _media(self, packet: RtpPacket) -> bool:
        """Takes a media packet; returns False for another payload type. Raises BROKEN."""
        now_s = time.monotonic()
        fragment = fragment_of(packet, self._request.codec, self._request.payload_type, now_s)
        if fragment is None:
            return False
        self._heard_s, self.is_heard = now_s, True
        self._track.take(fragment)
        return True
