"""Streams out of an SFU: real WebRTC on both sides, the SFU's HTTP face scripted."""

from __future__ import annotations

import re
import socket
from ipaddress import ip_network

import pytest

from api.ingest.live_source import SourceState
from api.ingest.pull.errors import PullFailed
from api.ingest.pull.url_policy import PullPolicy
from api.ingest.pull.whep import read_answer
from stream.identity import StreamIdentity
from stream.types import Codec, DropCause, EndReason
from tests.api.guards import nothing_left
from tests.api.ingest.pull.support import LOOPBACK, pulls_of
from tests.api.ingest.pull.whep_server import TOKEN, sfu
from tests.api.whip_rig import CollectingService, until


async def test_a_call_is_received_and_the_session_deleted() -> None:
    service = CollectingService()
    async with nothing_left(), sfu() as server, pulls_of(service) as pulls:
        server.refuse = [503, 404]
        order = await pulls.sources.whep(StreamIdentity("cam", "room", "ann"), server.url, TOKEN)
        assert order.protocol == "whep"
        session = await service.first()
        await until(lambda: len(session.units) > 30)
        assert pulls.registry.list()[0].state == "receiving"
        await pulls.registry.stop("cam")
        assert (session.ended, session.spec.codec) == (EndReason.STOPPED, Codec.H264)
        assert session.units[0].keyframe
        assert server.asked[:3] == [("POST", f"Bearer {TOKEN}")] * 3
        assert server.asked[-1] == ("DELETE", f"Bearer {TOKEN}")


async def test_a_session_that_the_sfu_closes_is_tried_again_in_the_same_stream() -> None:
    service = CollectingService()
    async with nothing_left(), sfu() as server, pulls_of(service) as pulls:
        await pulls.sources.whep(StreamIdentity("cam"), server.url, TOKEN)
        session = await service.first()
        server.refuse = [404, 404]
        await server.sessions[0].close()
        await until(lambda: pulls.registry.list()[0].state is SourceState.RETRYING)
        problem = pulls.registry.list()[0].problem
        assert problem is not None
        assert problem.code in ("connection_lost", "not_found")
        before = len(session.units)
        await until(lambda: len(session.units) > before + 30)
        assert pulls.registry.list()[0].problem is None
        assert session.gaps[0] is DropCause.SOURCE_LOST
        assert (session.ended, len(service.sessions), len(server.sessions)) == (None, 1, 2)


async def test_a_session_that_is_closed_before_its_first_frame_is_listed_with_its_problem() -> None:
    service = CollectingService()
    async with nothing_left(), sfu() as server, pulls_of(service) as pulls:
        server.closes_at_once = True
        await pulls.sources.whep(StreamIdentity("cam"), server.url, TOKEN)
        await until(lambda: pulls.registry.list()[0].problem is not None)
        problem = pulls.registry.list()[0].problem
        assert problem is not None
        assert problem.code == "connection_lost"
        server.closes_at_once = False
        session = await service.first()
        assert session.ended is None


@pytest.mark.parametrize(("token", "refuse", "code"), [("wrong-key", [], "unauthorized"), (TOKEN, [406], "refused")])
async def test_refusals_of_an_sfu_are_reported(token: str, refuse: list[int], code: str) -> None:
    service = CollectingService()
    async with nothing_left(), sfu() as server, pulls_of(service) as pulls:
        server.refuse = refuse
        await pulls.sources.whep(StreamIdentity("cam"), server.url, token)
        await until(lambda: not len(pulls.registry))
        (status,) = pulls.registry.list()
        assert (status.state, status.attempts) == ("failed", 1)
        assert status.problem is not None
        assert status.problem.code == code
        assert token not in repr(status)


async def test_no_packet_goes_to_a_forbidden_address() -> None:
    """The SFU names another address as its own: nothing is sent there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bait:
        bait.bind(("127.0.0.2", 0))
        bait.setblocking(False)
        service, policy = CollectingService(), PullPolicy(networks=(ip_network("127.0.0.1/32"),))
        async with sfu() as server, pulls_of(service, policy) as pulls:
            elsewhere = f"127.0.0.2 {bait.getsockname()[1]} typ"
            server.change = lambda answer: re.sub(r"\S+ \d+ typ", elsewhere, answer)
            await pulls.sources.whep(StreamIdentity("cam"), server.url, TOKEN)
            await until(lambda: not len(pulls.registry))
            problem = pulls.registry.list()[0].problem
            assert problem is not None
            assert problem.code == "address_not_allowed"
        with pytest.raises(BlockingIOError):
            bait.recv(1)


ANSWER = """v=0
o=- 1 1 IN IP4 0.0.0.0
s=-
t=0 0
m=video 9 UDP/TLS/RTP/SAVPF 99 97
a=rtpmap:99 AV1/90000
a=rtpmap:97 VP8/90000
a=candidate:1 1 udp 1 203.0.114.7 5000 typ host
a=candidate:2 1 udp 1 10.0.0.1 5000 typ host
a=candidate:3 1 udp 1 169.254.169.254 80 typ host
a=candidate:4 1 udp 1 a1.local 5000 typ host
"""


def test_forbidden_candidates_are_removed() -> None:
    read = read_answer(ANSWER, PullPolicy(), loopback=False)
    assert read.codec is Codec.VP8
    assert re.findall(r"udp 1 (\S+)", read.sdp) == ["203.0.114.7"]
    private = read_answer(ANSWER, PullPolicy(networks=(ip_network("10.0.0.0/8"),)), loopback=False)
    assert re.findall(r"udp 1 (\S+)", private.sdp) == ["203.0.114.7", "10.0.0.1"]
    for text, code in (
        (ANSWER.replace("203.0.114.7", "127.0.0.1"), "address_not_allowed"),
        (ANSWER.replace("VP8", "VP9"), "unsupported_codec"),
        (ANSWER.replace("m=video 9", "m=video 0"), "no_video"), ("hello", "no_video"),
    ):
        with pytest.raises(PullFailed) as failed:
            read_answer(text, LOOPBACK if code != "address_not_allowed" else PullPolicy(), loopback=False)
        assert failed.value.code == code
