"""Plain RTP on one UDP port into one stream, as SFUs forward it (Janus `rtp_forward`, mediasoup `PlainTransport`).

Nothing in plain RTP proves who sent it, so packets of one address alone are taken: the one that the operator named, or
the first that sends where only this machine can.
"""

from __future__ import annotations

import asyncio
import struct
import time
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

import structlog
from aiortc.codecs.h264 import h264_depayload
from aiortc.codecs.vpx import vp8_depayload
from aiortc.rtp import RTCP_PSFB_PLI, RtcpByePacket, RtcpPacket, RtcpPsfbPacket, RtpPacket, is_rtcp

from stream.errors import StreamError
from stream.session import StreamSpec
from stream.sources.webrtc import Fragment, VideoTrack, layer_of
from stream.types import Codec, DropCause, EndReason

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from api.peer import MediaSession
    from stream.layers import Layer
    from stream.seams import SourceControl

log = structlog.get_logger(__name__)

_DEPAYLOAD = {Codec.H264: h264_depayload, Codec.VP8: vp8_depayload}
_ASK_EVERY_S = 0.5
_OUR_SSRC = 1


class RtpOrder(NamedTuple):
    """What comes in: `sender` is the only address that is listened to, or empty for the first that sends;
    `payload_type` None takes all."""

    spec: StreamSpec
    sender: str = ""
    payload_type: int | None = None


class Owner(Protocol):
    """What a source needs of the table that it is in."""

    def open(self, spec: StreamSpec, control: SourceControl) -> MediaSession:
        """Raises StreamError."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> None: ...

    def forget(self, source: RtpSource) -> None: ...


class RtpSource(asyncio.DatagramProtocol):
    """From the open port to the end. The stream is opened by the first frame that can be decoded. Implements
    SourceControl for the service, and takes frames of its track."""

    def __init__(self, order: RtpOrder, owner: Owner) -> None:
        self.order = order
        self.created_s = self.heard_s = time.monotonic()
        self.is_heard = False
        self._owner = owner
        self._track = VideoTrack(order.spec.codec, self)
        self._session: MediaSession | None = None
        self._transport: asyncio.DatagramTransport | None = None
        self._sender: tuple[Any, ...] | None = None
        self._asked_s = float("-inf")
        self._closing: asyncio.Future[None] | None = None
        self._shut = asyncio.Event()

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
        if self._closing is not None or address[0] != (self.order.sender or (self._sender or address)[0]):
            return
        try:
            if is_rtcp(data):
                self._control(RtcpPacket.parse(data))
            elif self._media(RtpPacket.parse(data)):
                self._sender = address
        except (ValueError, IndexError, struct.error):
            return      # no RTP

    def frame(self, payload: bytes, pts_s: float, keyframe: bool, age_s: float, layer: Layer) -> None:
        if self._session is None:
            try:
                self._session = self._owner.open(self.order.spec, self)
            except StreamError as error:
                log.warning("stream refused", stream=self.order.spec.stream, error=str(error))
                self._owner.spawn(self.finish(EndReason.FAILED, str(error)))
                return
        self._session.feed(payload, pts_s, keyframe, time.time() - age_s, layer)

    def lost(self) -> None:
        if self._session is not None:
            self._session.gap(DropCause.PACKET_LOSS)

    def ask_keyframe(self, ssrc: int) -> None:
        """By RTCP, to where the media comes from. Not every forwarder listens there."""
        now_s = time.monotonic()
        if self._transport is not None and self._sender is not None and now_s - self._asked_s >= _ASK_EVERY_S:
            self._asked_s = now_s
            packet = RtcpPsfbPacket(fmt=RTCP_PSFB_PLI, ssrc=_OUR_SSRC, media_ssrc=ssrc)
            self._transport.sendto(bytes(packet), self._sender)

    def request_keyframe(self) -> None:
        if self._track.ssrc is not None:
            self.ask_keyframe(self._track.ssrc)

    async def close(self) -> None:
        """Closes the port for the service, which ends the stream itself."""
        self._session = None
        await self.finish(EndReason.STOPPED)

    async def finish(self, reason: EndReason, message: str = "") -> None:
        """Closes the port and ends the stream, if there is one. Idempotent; every caller returns after the end."""
        if self._closing is not None:
            await asyncio.shield(self._closing)
            return
        self._closing = asyncio.get_running_loop().create_future()
        try:
            if self._transport is not None:
                self._transport.close()
                await self._shut.wait()     # the port is free from here on
            if self._session is not None:
                await self._session.end(reason, message)
        finally:
            log.info("rtp over", stream=self.order.spec.stream, reason=reason.value, frames=self._track.frames_whole)
            self._owner.forget(self)
            self._closing.set_result(None)

    def _media(self, packet: RtpPacket) -> bool:
        """Whether it is media of this stream."""
        codec, wanted = self.order.spec.codec, self.order.payload_type
        if wanted is not None and packet.payload_type != wanted:
            return False
        data = _DEPAYLOAD[codec](packet.payload) if packet.payload else b""
        self.heard_s, self.is_heard = time.monotonic(), True
        self._track.take(Fragment(
            packet.ssrc, packet.sequence_number, packet.timestamp, bool(packet.marker), data, self.heard_s,
            layer_of(codec, packet.payload),
        ))
        return True

    def _control(self, packets: list[Any]) -> None:
        for packet in packets:
            if isinstance(packet, RtcpByePacket) and self._track.ssrc in packet.sources:
                self._owner.spawn(self.finish(EndReason.PUBLISHER_LEFT))
