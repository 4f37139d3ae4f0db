"""Patches of private parts of aiortc and aioice, all in one place, with the reason for each.

aiortc decodes in threads behind unbounded queues, and closing a connection waits for them. This service decodes
elsewhere: packets leave aiortc in place of its jitter buffer, and its decoder thread ends as soon as it starts.
`PRIVATE_PARTS` lists all patched names; a test compares it with the installed versions. Receivers and packets are
typed as Any because type checkers reject private names.
"""

from __future__ import annotations

import asyncio
import errno
import random
import socket
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import aioice.ice
import aioice.turn
import aiortc.rtp
import structlog
from aioice.candidate import candidate_foundation, candidate_priority
from aiortc import RTCConfiguration, RTCPeerConnection
from aiortc.codecs import HEADER_EXTENSIONS
from aiortc.rtcdtlstransport import RTCCertificate
from aiortc.rtcrtpparameters import RTCRtpHeaderExtensionParameters
from aiortc.rtcrtpreceiver import NackGenerator
from aiortc.rtp import RtcpByePacket, pack_header_extensions, unpack_header_extensions

from stream.sources.rtp_video import Fragment, layer_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from aiortc.rtp import AnyRtcpPacket

    from stream.types import Codec

log = structlog.get_logger(__name__)

FIXED_BITRATE_BPS = 2_500_000
VIDEO_ORIENTATION = "urn:3gpp:video-orientation"

CIPHERS = (
    b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA:"
    b"ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-CHACHA20-POLY1305"
)
"""aiortc's own ciphers, and those for publishers with RSA certificates (GStreamer up to 1.22)."""

PRIVATE_PARTS: dict[str, tuple[str, ...]] = {
    "aiortc.rtcrtpreceiver.RTCRtpReceiver": (
        "_RTCRtpReceiver__jitter_buffer", "_RTCRtpReceiver__decoder_queue", "_RTCRtpReceiver__decoder_thread",
        "_RTCRtpReceiver__remote_bitrate_estimator", "_RTCRtpReceiver__nack_generator", "_enabled",
        "_handle_rtcp_packet", "_handle_rtp_packet", "_send_rtcp_pli",
    ),
    "aiortc.rtcrtpreceiver": ("NackGenerator",),
    "aiortc.rtp": ("HeaderExtensionsMap", "pack_header_extensions", "unpack_header_extensions"),
    "aiortc.codecs": ("HEADER_EXTENSIONS",),
    "aiortc.rtcdtlstransport.RTCDtlsTransport": ("_rtp_router", "_handle_rtp_data", "_handle_rtcp_data"),
    "aiortc.rtcdtlstransport.RTCCertificate": ("_create_ssl_context",),
    "aiortc.rtcdtlstransport.RtpRouter": ("route_rtp", "ssrc_table"),
    "aiortc.rtcrtpsender.RTCRtpSender": ("_send_keyframe", "_RTCRtpSender__rtp_header_extensions_map"),
    "aioice.ice": ("get_host_addresses", "StunProtocol"),
    "aioice.ice.Connection": ("get_component_candidates", "_protocols", "_queue", "_nominated", "_check_list"),
    "aioice.ice.StunProtocol": ("datagram_received",),
    "aioice.turn": ("UDP_SOCKET_BUFFER_SIZE",),
}

_REMB_EVERY_MS = 1000
_MAX_SOURCES = 16
_REPAIRABLE = 128           # packets that aiortc requests again and that senders keep
_MAX_DATAGRAMS = 2048       # queued for the event loop, per connection
_FIRST_AFTER_STUN = 4       # RFC 7983


class VideoTap(Protocol):
    """Takes the packets of a video receiver. Called in the event loop; must not block or raise."""

    def packet(self, fragment: Fragment, codec: Codec) -> None: ...

    def goodbye(self, ssrcs: tuple[int, ...]) -> None:
        """Takes the SSRCs of an RTCP BYE."""

    def now_s(self) -> float:
        """Returns monotonic time in seconds."""


def new_connection() -> RTCPeerConnection:
    """Returns a connection without STUN servers; aiortc's default asks a public one, which takes up to 5 s."""
    return RTCPeerConnection(RTCConfiguration(iceServers=[]))


def tap_video(receiver: Any, tap: VideoTap, codecs: Mapping[int, Codec]) -> None:
    """Sends the receiver's packets to `tap` only, with their codec by payload type; drops all other payload types.

    Call it before the connection starts.
    """
    _leave_undecoded(receiver)
    receiver._RTCRtpReceiver__jitter_buffer = _TapInsteadOfJitterBuffer(tap, codecs)
    receiver._RTCRtpReceiver__remote_bitrate_estimator = _FixedBitrate()
    receiver._RTCRtpReceiver__nack_generator = _BoundedNackGenerator()
    _limit_sources(receiver.transport._rtp_router)
    for name in ("_handle_rtp_data", "_handle_rtcp_data"):
        _forgive(receiver.transport, name)
    handle = receiver._handle_rtcp_packet

    async def handle_rtcp(packet: AnyRtcpPacket) -> None:
        await handle(packet)
        if isinstance(packet, RtcpByePacket):
            tap.goodbye(tuple(packet.sources))

    receiver._handle_rtcp_packet = handle_rtcp
    handle_rtp = receiver._handle_rtp_packet

    async def handle_timed_rtp(packet: Any, arrival_time_ms: int) -> None:
        # aiortc asks its estimator, and so sends REMB, only for packets with this extension. Ours ignores the value.
        if packet.extensions.abs_send_time is None:
            packet.extensions.abs_send_time = 0
        await handle_rtp(packet, arrival_time_ms=arrival_time_ms)

    receiver._handle_rtp_packet = handle_timed_rtp


def ignore_audio(receiver: Any) -> None:
    """Drops audio on arrival; publishers insist on its negotiation.

    Call it after setLocalDescription, which enables the receiver again.
    """
    _leave_undecoded(receiver)
    receiver._enabled = False


async def ask_keyframe(receiver: Any, ssrc: int) -> None:
    """Sends a Picture Loss Indication; a no-op on a closed connection."""
    await receiver._send_rtcp_pli(ssrc)


def tell_keyframe_requests(sender: Any, asked: Callable[[], None]) -> None:
    """Calls `asked` when the remote side requests a key frame.

    aiortc reports requests to its own encoder only, which is not in use where encoded frames are sent.
    """
    sender._send_keyframe = asked


def send_orientation(sender: Any, value: int) -> None:
    """Attaches this byte of coordination of video orientation to all packets of the sender."""
    sender._RTCRtpSender__rtp_header_extensions_map.video_orientation = value


class _OrientedExtensions(aiortc.rtp.HeaderExtensionsMap):
    """Header extensions of aiortc, and coordination of video orientation (3GPP TS 26.114 7.4.5), which it ignores."""

    def __init__(self) -> None:
        super().__init__()
        self.video_orientation: int | None = None       # to send
        self._orientation_id: int | None = None

    def configure(self, parameters: Any) -> None:
        super().configure(parameters)
        for extension in parameters.headerExtensions:
            if extension.uri == VIDEO_ORIENTATION:
                self._orientation_id = extension.id

    def get(self, extension_profile: int, extension_value: bytes) -> Any:
        values: Any = super().get(extension_profile, extension_value)
        if self._orientation_id is not None:
            for number, value in unpack_header_extensions(extension_profile, extension_value):
                if number == self._orientation_id and value:
                    values.video_orientation = value[0]
        return values

    def set(self, values: Any) -> tuple[int, bytes]:
        profile, packed = super().set(values)
        if self.video_orientation is None or self._orientation_id is None:
            return profile, packed
        found = unpack_header_extensions(profile, packed)
        return pack_header_extensions([*found, (self._orientation_id, bytes([self.video_orientation]))])


aiortc.rtp.HeaderExtensionsMap = _OrientedExtensions        # type: ignore[misc]
HEADER_EXTENSIONS["video"].append(RTCRtpHeaderExtensionParameters(id=13, uri=VIDEO_ORIENTATION))


def _limit_sources(router: Any) -> None:
    """Limits the SSRCs of a connection: aiortc keeps state for each, and its receiver reports fail beyond 31."""
    route = router.route_rtp

    def route_few(packet: Any) -> Any:
        if packet.ssrc not in router.ssrc_table and len(router.ssrc_table) >= _MAX_SOURCES:
            return None
        return route(packet)

    router.route_rtp = route_few


def _forgive(transport: Any, name: str) -> None:
    """Drops packets that aiortc fails at, which would end the connection otherwise.

    Some of its parsers raise uncaught errors, such as struct.error for a truncated header extension.
    """
    handle = getattr(transport, name)

    async def handle_if_possible(data: bytes, **rest: Any) -> None:
        try:
            await handle(data, **rest)
        except ConnectionError:
            raise
        except Exception as error:      # noqa: BLE001 - any error concerns one packet only
            log.debug("packet dropped", error=type(error).__name__)

    setattr(transport, name, handle_if_possible)


class _BoundedNackGenerator(NackGenerator):
    """Restarts after a jump that cannot be repaired; aiortc would walk through up to 32768 numbers per packet."""

    def add(self, packet: Any) -> bool:
        if self.max_seq is not None and _REPAIRABLE < (packet.sequence_number - self.max_seq) % 2**16 < 2**15:
            self.max_seq = packet.sequence_number
            self.missing.clear()
            return False
        missed: bool = super().add(packet)
        return missed


def _leave_undecoded(receiver: Any) -> None:
    """Queues the end mark first, so that the decoder thread ends at once and closing need not wait."""
    receiver._RTCRtpReceiver__decoder_queue.put(None)


class _TapInsteadOfJitterBuffer:
    """Replaces aiortc's jitter buffer and passes packets to a tap."""

    def __init__(self, tap: VideoTap, codecs: Mapping[int, Codec]) -> None:
        self._tap = tap
        self._codecs = codecs

    def add(self, packet: Any) -> tuple[bool, None]:
        """Returns no frame and no key frame request; the tap's owner requests key frames."""
        codec = self._codecs.get(packet.payload_type)
        if codec is not None:
            orientation = getattr(packet.extensions, "video_orientation", None)
            self._tap.packet(Fragment(
                packet.ssrc, packet.sequence_number, packet.timestamp, bool(packet.marker), packet._data,
                self._tap.now_s(), layer_of(codec, packet.payload), orientation,
            ), codec)
        return False, None


class _Remb(NamedTuple):
    """Receiver Estimated Maximum Bitrate."""

    bitrate_bps: int
    ssrcs: list[int]


class _FixedBitrate:
    """Reports a fixed bitrate in place of aiortc's estimate.

    The estimator starts at 130 kbit/s, grows by 20 kbit/s per second and treats every stall of the event loop as
    congestion, so that browsers send a fraction of their quality.
    """

    def __init__(self) -> None:
        self._told_ms: int | None = None

    def add(self, *, arrival_time_ms: int, ssrc: int, **_: int) -> _Remb | None:
        """Returns the bitrate once per second, else None, like aiortc's RemoteBitrateEstimator."""
        if self._told_ms is not None and arrival_time_ms - self._told_ms < _REMB_EVERY_MS:
            return None
        self._told_ms = arrival_time_ms
        return _Remb(FIXED_BITRATE_BPS, [ssrc])


class Network(NamedTuple):
    """Where connections listen: on this machine's own addresses, and on UDP ports of the range `ports`, or on any.

    `loopback` adds 127.0.0.1 and ::1, which aioice omits.
    """

    loopback: bool = False
    ports: tuple[int, int] | None = None


_network: ContextVar[Network] = ContextVar("network", default=Network())    # noqa: B039 - it is frozen
_original_addresses = aioice.ice.get_host_addresses
_original_candidates = aioice.ice.Connection.get_component_candidates


@contextmanager
def listening_on(network: Network) -> Iterator[None]:
    """Applies `network` to connections that gather their candidates within the block."""
    token = _network.set(network)
    try:
        yield
    finally:
        _network.reset(token)


def loopback_candidates(wanted: bool) -> AbstractContextManager[None]:
    """Adds loopback to connections that gather their candidates within the block."""
    return listening_on(Network(loopback=wanted))


def _host_addresses(use_ipv4: bool, use_ipv6: bool) -> list[str]:
    addresses: list[str] = _original_addresses(use_ipv4, use_ipv6)
    if not _network.get().loopback:
        return addresses
    return ["127.0.0.1"] * use_ipv4 + ["::1"] * use_ipv6 + addresses


async def _component_candidates(self: Any, component: int, addresses: list[str], timeout: int = 5) -> list[Any]:  # noqa: ASYNC109 - as aioice has it
    """Returns host candidates on the allowed ports; without a port range, those of aioice."""
    ports = _network.get().ports
    if ports is None:
        found: list[Any] = await _original_candidates(self, component, addresses, timeout)
        return found
    candidates = []
    for address in addresses:
        protocol = await _bound(self, address, ports)
        if protocol is None:
            continue
        host, port = protocol.transport.get_extra_info("sockname")[:2]
        protocol.local_candidate = aioice.Candidate(
            foundation=candidate_foundation("host", "udp", host), component=component, transport="udp",
            priority=candidate_priority(component, "host"), host=host, port=port, type="host",
        )
        self._protocols.append(protocol)
        candidates.append(protocol.local_candidate)
    return candidates


async def _bound(connection: Any, address: str, ports: tuple[int, int]) -> Any | None:
    """Binds a socket to a free port; returns None if no port is free or the address is unusable."""
    low, high = ports
    count = high - low + 1
    start = random.randrange(count)
    for step in range(count):
        local = (address, low + (start + step) % count)
        try:
            _, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
                lambda: aioice.ice.StunProtocol(connection), local_addr=local
            )
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                return None
        else:
            buffer_bytes = aioice.turn.UDP_SOCKET_BUFFER_SIZE
            protocol.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
            return protocol
    return None


def _datagram_received(self: Any, data: bytes, address: tuple[Any, ...]) -> None:
    if _is_accepted(self.receiver, data, address[:2]):
        _original_datagram_received(self, data, address)


def _is_accepted(connection: Any, data: bytes, address: tuple[Any, ...]) -> bool:
    """Whether a connection accepts this datagram.

    An empty datagram makes aiortc abandon the connection. Once connected, media must come from an address whose ICE
    checks succeeded; checks authenticate themselves.
    """
    if not data or connection._queue.qsize() >= _MAX_DATAGRAMS:
        return False
    if data[0] < _FIRST_AFTER_STUN or not connection._nominated:
        return True
    pairs = (*connection._nominated.values(), *connection._check_list)
    return any(pair.remote_addr == address and pair.state is _SUCCEEDED for pair in pairs)


def _create_ssl_context(self: Any, srtp_profiles: list[Any]) -> Any:
    context = _original_ssl_context(self, srtp_profiles)
    context.set_cipher_list(CIPHERS)
    return context


_original_ssl_context = RTCCertificate._create_ssl_context
RTCCertificate._create_ssl_context = _create_ssl_context        # type: ignore[method-assign]
_SUCCEEDED = aioice.ice.CandidatePair.State.SUCCEEDED
_original_datagram_received = aioice.ice.StunProtocol.datagram_received
aioice.ice.StunProtocol.datagram_received = _datagram_received      # type: ignore[method-assign,assignment]
aioice.ice.get_host_addresses = _host_addresses
aioice.ice.Connection.get_component_candidates = _component_candidates      # type: ignore[method-assign]
