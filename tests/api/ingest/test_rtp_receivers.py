"""Streams that were asked for: ports, who may send, deadlines, ends. FFmpeg's RTP is judged in tests/e2e."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import pytest
from aiortc.rtp import RtcpByePacket, RtcpPacket, RtcpPsfbPacket

from api.errors import Busy, OfferRefused
from api.ingest.rtp_receiver import RtpRequest, RtpTimeouts
from api.ingest.rtp_receivers import RtpConfig, RtpReceivers
from stream.errors import ServiceDraining, StreamExists, StreamUnknown
from stream.identity import StreamIdentity
from stream.types import Codec, EndReason
from tests.api.guards import nothing_left
from tests.api.hostile_rtp import bad_rtcp, bad_rtp, rtp
from tests.api.whip_rig import CollectingService, registry_of, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from api.ingest.registry import SourceRegistry

VP8_KEY = b"\x10\x10\x00\x00\x9d\x01\x2a\x80\x02\x68\x01"
VP8_DELTA = b"\x10\x11\x00\x00delta"


def order(stream: str = "cam", sender: str = "", payload_type: int | None = None) -> RtpRequest:
    return RtpRequest(StreamIdentity(stream), Codec.VP8, sender, payload_type)


def frame(number: int, payload: bytes = VP8_DELTA, ssrc: int = 1) -> bytes:
    data = bytearray(rtp(payload, kind=0x80 | 97, sequence=number, ssrc=ssrc))
    data[4:8] = (number * 3000).to_bytes(4, "big")
    return bytes(data)


class RtpRig(NamedTuple):
    """RTP receivers, and the registry that holds them."""

    receivers: RtpReceivers
    registry: SourceRegistry


@asynccontextmanager
async def receivers_of(service: CollectingService, **config: object) -> AsyncIterator[RtpRig]:
    async with registry_of(service) as registry:
        yield RtpRig(RtpReceivers(RtpConfig(**config), registry), registry)     # type: ignore[arg-type]


@pytest.fixture
def sender() -> AsyncIterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
        plain.bind(("127.0.0.1", 0))
        plain.setblocking(False)
        yield plain


async def test_the_stream_opens_with_its_first_key_frame_and_ends_with_bye(sender: socket.socket) -> None:
    service = CollectingService()
    async with receivers_of(service) as rig:
        port = await rig.receivers.listen(order(), None)
        sender.sendto(frame(1), ("127.0.0.1", port))
        await asyncio.sleep(0.1)
        assert service.sessions == []
        for number in range(2, 7):
            sender.sendto(frame(number, VP8_KEY if number == 2 else VP8_DELTA), ("127.0.0.1", port))
        session = await service.first()
        await until(lambda: len(session.units) == 5)
        assert session.units[0].keyframe
        steps = [later.pts_s - earlier.pts_s for earlier, later in pairwise(session.units)]
        assert steps == pytest.approx([1 / 30] * 4)
        sender.sendto(bytes(RtcpByePacket(sources=[1])), ("127.0.0.1", port))
        await until(lambda: session.ended is EndReason.PUBLISHER_LEFT)
        assert "cam" not in rig.registry


async def test_a_key_frame_request_goes_to_the_media_address(sender: socket.socket) -> None:
    async with receivers_of(CollectingService()) as rig:
        port = await rig.receivers.listen(order(), None)
        for number in range(60):
            sender.sendto(frame(number), ("127.0.0.1", port))
            await asyncio.sleep(0.02)
        asked = RtcpPacket.parse(await asyncio.get_running_loop().sock_recv(sender, 2000))
        assert isinstance(asked[0], RtcpPsfbPacket)
        assert asked[0].media_ssrc == 1


@pytest.mark.parametrize("shown_by", [b"\x80" + bytes(11), bytes(RtcpByePacket(sources=[9]))], ids=["latch", "rtcp"])
async def test_a_key_frame_request_goes_to_the_rtcp_address(sender: socket.socket, shown_by: bytes) -> None:
    """Janus sends a bare header from the port of its own that it takes RTCP on; others send RTCP from there."""
    async with receivers_of(CollectingService()) as rig:
        to = ("127.0.0.1", await rig.receivers.listen(order(), None))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
            listener.bind(("127.0.0.1", 0))
            listener.setblocking(False)
            listener.sendto(shown_by, to)
            asking = asyncio.ensure_future(asyncio.get_running_loop().sock_recv(listener, 2000))
            for number in range(500):
                sender.sendto(frame(number), to)
                await asyncio.sleep(0.02)
                if asking.done():
                    break
            (asked,) = RtcpPacket.parse(asking.result())
        assert isinstance(asked, RtcpPsfbPacket)
        assert asked.media_ssrc == 1


async def test_only_the_named_sender_is_accepted(sender: socket.socket) -> None:
    service = CollectingService()
    async with receivers_of(service) as rig:
        port = await rig.receivers.listen(order(sender="192.0.2.7"), None)
        sender.sendto(frame(1, VP8_KEY), ("127.0.0.1", port))
        await asyncio.sleep(0.2)
        assert service.sessions == []
    async with receivers_of(service, is_loopback=False) as rig:
        with pytest.raises(OfferRefused) as refused:
            await rig.receivers.listen(order(), None)
        assert refused.value.code == "sender_missing"


async def test_hostile_packets_change_nothing(sender: socket.socket) -> None:
    service = CollectingService()
    async with receivers_of(service) as rig:
        port = await rig.receivers.listen(order(), None)
        sender.sendto(frame(1, VP8_KEY), ("127.0.0.1", port))
        session = await service.first()
        for data in (*bad_rtp().values(), *bad_rtcp().values(), b""):
            if len(data) < 60_000 and data != bytes(RtcpByePacket(sources=[1])):
                sender.sendto(data.replace(b"\0\0\0\1", b"\0\0\0\3"), ("127.0.0.1", port))
        await asyncio.sleep(0.2)
        sender.sendto(frame(9, VP8_KEY), ("127.0.0.1", port))
        assert session.ended is None


async def test_receivers_without_media_end(sender: socket.socket) -> None:
    service = CollectingService()
    async with nothing_left(), receivers_of(service, timeouts=RtpTimeouts(0.5, 1.0)) as rig:
        await rig.receivers.listen(order("never"), None)
        port = await rig.receivers.listen(order("silent"), None)
        sender.sendto(frame(1, VP8_KEY), ("127.0.0.1", port))
        session = await service.first()
        await until(lambda: "never" not in rig.registry and "silent" not in rig.registry)
        assert session.ended is EndReason.SILENT


async def test_ports_come_from_the_allowed_range(sender: socket.socket) -> None:
    taken = sender.getsockname()[1]
    async with receivers_of(CollectingService(), udp_ports=(20800, 20801)) as rig:
        assert {await rig.receivers.listen(order(name), None) for name in ("a", "b")} == {20800, 20801}
        with pytest.raises(Busy, match="port"):
            await rig.receivers.listen(order("c"), None)
        with pytest.raises(OfferRefused) as refused:
            await rig.receivers.listen(order("c"), taken)
        assert (refused.value.status, refused.value.code) == (409, "port_taken")
        with pytest.raises(StreamExists):
            await rig.receivers.listen(order("a"), None)
        await rig.registry.stop("a")
        assert await rig.receivers.listen(order("c"), None) in (20800, 20801)
        with pytest.raises(StreamUnknown):
            await rig.registry.stop("a")
        await rig.registry.close()
        with pytest.raises(ServiceDraining):
            await rig.receivers.listen(order("late"), None)


def test_over_http_a_receiver_is_started_and_deleted(client: httpx.Client) -> None:
    started = client.post("/v1/streams", json={"stream": "awaited", "rtp": {"codec": "h264", "payload_type": 96}})
    assert started.status_code == 201, started.text
    assert started.json()["state"] == "waiting"
    assert started.json()["rtp"]["port"] >= 1024
    again = client.post("/v1/streams", json={"stream": "awaited", "rtp": {"codec": "h264"}})
    assert (again.status_code, again.json()["error"]["code"]) == (409, "stream_exists")
    assert client.delete(started.headers["location"]).status_code == 204
    assert client.delete(started.headers["location"]).status_code == 404


@pytest.mark.parametrize("body", [
    {}, {"stream": "a"}, {"stream": "a", "rtp": {}}, {"stream": "a b", "rtp": {"codec": "vp8"}},
    {"stream": "a", "rtp": {"codec": "av1"}}, {"stream": "a", "rtp": {"codec": "vp8", "port": 80}},
    {"stream": "a", "rtp": {"codec": "vp8", "from": "example.org"}}, {"stream": "a", "rtp": {"codec": "vp8"}, "x": 1},
    {"stream": "a", "call_id": "<b>", "rtp": {"codec": "vp8"}},
    {"stream": "a", "rtp": {"codec": "vp8", "payload_type": 200}},
])
def test_invalid_orders_are_422(client: httpx.Client, body: dict[str, object]) -> None:
    assert client.post("/v1/streams", json=body).status_code == 422
