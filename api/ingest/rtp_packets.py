"""RTP and RTCP datagrams: reads fragments of video, builds key frame requests."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from aiortc.codecs.h264 import h264_depayload
from aiortc.codecs.vpx import vp8_depayload
from aiortc.rtp import RTCP_PSFB_PLI, RtcpByePacket, RtcpPacket, RtcpPsfbPacket, RtpPacket

from stream.sources.rtp_video import Fragment, layer_of
from stream.types import Codec

if TYPE_CHECKING:
    from typing import Any

_DEPAYLOAD = {Codec.H264: h264_depayload, Codec.VP8: vp8_depayload}
_OUR_SSRC = 1
BROKEN = (ValueError, IndexError, struct.error)     # raised by aiortc for malformed packets


def fragment_of(packet: RtpPacket, codec: Codec, payload_type: int | None, now_s: float) -> Fragment | None:
    """Returns the fragment in one RTP packet; None for another payload type. Raises BROKEN."""
    if payload_type is not None and packet.payload_type != payload_type:
        return None
    media = _DEPAYLOAD[codec](packet.payload) if packet.payload else b""
    return Fragment(
        packet.ssrc, packet.sequence_number, packet.timestamp, bool(packet.marker), media, now_s,
        layer_of(codec, packet.payload),
    )


def is_latch(packet: RtpPacket) -> bool:
    """Whether this is a bare header, with which Janus shows the port that it takes RTCP on."""
    return not packet.payload and not packet.ssrc and not packet.padding_size


def says_goodbye(data: bytes, ssrc: int | None) -> bool:
    """Whether this RTCP datagram holds a BYE for this SSRC. Raises BROKEN."""
    packets: list[Any] = RtcpPacket.parse(data)
    return any(isinstance(packet, RtcpByePacket) and ssrc in packet.sources for packet in packets)


def picture_loss(ssrc: int) -> bytes:
    """Returns an RTCP datagram that asks for a key frame (PLI)."""
    return bytes(RtcpPsfbPacket(fmt=RTCP_PSFB_PLI, ssrc=_OUR_SSRC, media_ssrc=ssrc))
