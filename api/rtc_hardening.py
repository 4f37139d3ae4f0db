"""Every private part of aiortc and aioice that we rely on, in one place, with the reason for each.

aiortc decodes in threads that its queues feed without bound, and closing a connection waits for them. Here nothing is
decoded: packets leave aiortc where it would sort them, and its decoder thread ends as soon as it starts.
`PRIVATE_PARTS` lists what is touched; a test holds it against the installed version. Receivers and packets are typed
as Any here because type checkers rightly object to private names.
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
from aioice.candidate import candidate_foundation, candidate_priority
from aiortc import RTCConfiguration, RTCPeerConnection
from aiortc.rtp import RtcpByePacket

from stream.sources.webrtc import Fragment, layer_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aiortc.rtp import AnyRtcpPacket

    from stream.types import Codec

FIXED_BITRATE_BPS = 2_500_000

PRIVATE_PARTS: dict[str, tuple[str, ...]] = {
    "aiortc.rtcrtpreceiver.RTCRtpReceiver": (
        "_RTCRtpReceiver__jitter_buffer", "_RTCRtpReceiver__decoder_queue", "_RTCRtpReceiver__decoder_thread",
        "_RTCRtpReceiver__remote_bitrate_estimator", "_enabled", "_handle_rtcp_packet", "_send_rtcp_pli",
    ),
    "aiortc.rtcrtpsender.RTCRtpSender": ("_send_keyframe",),
    "aioice.ice": ("get_host_addresses", "StunProtocol"),
    "aioice.ice.Connection": ("get_component_candidates", "_protocols"),
    "aioice.turn": ("UDP_SOCKET_BUFFER_SIZE",),
}

_REMB_EVERY_MS = 1000


class VideoTap(Protocol):
    """Takes what a video receiver hears. Called in the event loop; must not block or raise."""

    def packet(self, fragment: Fragment) -> None: ...

    def goodbye(self, ssrcs: tuple[int, ...]) -> None:
        """The sender said RTCP BYE for these."""

    def now_s(self) -> float:
        """Monotonic time."""


def new_connection() -> RTCPeerConnection:
    """Without STUN or TURN servers: aiortc's default asks a public one and delays the answer by up to 5 s."""
    return RTCPeerConnection(RTCConfiguration(iceServers=[]))


def tap_video(receiver: Any, tap: VideoTap, codec: Codec) -> None:
    """Sends the receiver's packets, all of `codec`, to `tap` and nowhere else. To be called before the connection
    starts."""
    _leave_undecoded(receiver)
    receiver._RTCRtpReceiver__jitter_buffer = _Diversion(tap, codec)
    receiver._RTCRtpReceiver__remote_bitrate_estimator = _FixedBitrate()
    handle = receiver._handle_rtcp_packet

    async def handle_rtcp(packet: AnyRtcpPacket) -> None:
        await handle(packet)
        if isinstance(packet, RtcpByePacket):
            tap.goodbye(tuple(packet.sources))

    receiver._handle_rtcp_packet = handle_rtcp


def ignore_audio(receiver: Any) -> None:
    """Audio is negotiated, because publishers insist, and dropped on arrival. After setLocalDescription, which would
    switch it on again."""
    _leave_undecoded(receiver)
    receiver._enabled = False


async def ask_keyframe(receiver: Any, ssrc: int) -> None:
    """Sends a Picture Loss Indication. Does nothing on a connection that is gone."""
    await receiver._send_rtcp_pli(ssrc)


def tell_keyframe_requests(sender: Any, asked: Callable[[], None]) -> None:
    """Calls `asked` when the other side wants a key frame: aiortc tells its own encoder alone, which has no part where
    encoded frames are sent."""
    sender._send_keyframe = asked


def _leave_undecoded(receiver: Any) -> None:
    """The decoder thread finds its end mark first, so that it ends at once and closing has nothing to wait for."""
    receiver._RTCRtpReceiver__decoder_queue.put(None)


class _Diversion:
    """Stands where aiortc has its jitter buffer."""

    def __init__(self, tap: VideoTap, codec: Codec) -> None:
        self._tap = tap
        self._codec = codec

    def add(self, packet: Any) -> tuple[bool, None]:
        """No frame ever comes out on this side, and key frames are asked for elsewhere."""
        self._tap.packet(Fragment(
            packet.ssrc, packet.sequence_number, packet.timestamp, bool(packet.marker), packet._data, self._tap.now_s(),
            layer_of(self._codec, packet.payload),
        ))
        return False, None


class _Remb(NamedTuple):
    """Receiver Estimated Maximum Bitrate."""

    bitrate_bps: int
    ssrcs: list[int]


class _FixedBitrate:
    """Allows a fixed bitrate. aiortc's estimator starts at 130 kbit/s, grows by 20 kbit/s a second and takes every
    stall of the event loop for congestion, so that browsers send a fraction of the picture."""

    def __init__(self) -> None:
        self._told_ms: int | None = None

    def add(self, *, arrival_time_ms: int, ssrc: int, **_: int) -> _Remb | None:
        """The estimate when it is time to send it, as in aiortc's RemoteBitrateEstimator."""
        if self._told_ms is not None and arrival_time_ms - self._told_ms < _REMB_EVERY_MS:
            return None
        self._told_ms = arrival_time_ms
        return _Remb(FIXED_BITRATE_BPS, [ssrc])


class Network(NamedTuple):
    """Where connections listen: on this machine's own addresses and, if `loopback`, on 127.0.0.1 and ::1, which aioice
    leaves out; on UDP ports from the first to the last of `ports`, or on any."""

    loopback: bool = False
    ports: tuple[int, int] | None = None


_network: ContextVar[Network] = ContextVar("network", default=Network())    # noqa: B039 - it is frozen
_original_addresses = aioice.ice.get_host_addresses
_original_candidates = aioice.ice.Connection.get_component_candidates


@contextmanager
def listening_on(network: Network) -> Iterator[None]:
    """Connections whose candidates are gathered inside listen there."""
    token = _network.set(network)
    try:
        yield
    finally:
        _network.reset(token)


def loopback_candidates(wanted: bool) -> AbstractContextManager[None]:
    """Connections whose candidates are gathered inside listen on loopback, too."""
    return listening_on(Network(loopback=wanted))


def _host_addresses(use_ipv4: bool, use_ipv6: bool) -> list[str]:
    addresses: list[str] = _original_addresses(use_ipv4, use_ipv6)
    if not _network.get().loopback:
        return addresses
    return ["127.0.0.1"] * use_ipv4 + ["::1"] * use_ipv6 + addresses


async def _component_candidates(self: Any, component: int, addresses: list[str], timeout: int = 5) -> list[Any]:  # noqa: ASYNC109 - as aioice has it
    """Host candidates on the ports that are allowed. Without such a limit, aioice's own way."""
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
    """A socket on a free port; None if there is none, or if the address cannot be used."""
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


aioice.ice.get_host_addresses = _host_addresses
aioice.ice.Connection.get_component_candidates = _component_candidates      # type: ignore[method-assign]
