"""RTSP in its parts, and servers that mean harm; a real camera server is in `tests/e2e/test_pulls.py`."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from ipaddress import ip_network
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.ingest.pull.errors import PullFailed
from api.ingest.pull.rtsp_messages import RtspLogin, best_challenge, offered_video, read_head
from api.ingest.pull.url_policy import PullPolicy
from stream.identity import StreamIdentity
from stream.types import Codec, EndReason
from tests.api.guards import nothing_left
from tests.api.ingest.pull.support import QUICK, canary, pulls_of
from tests.api.ingest.test_rtp_receivers import VP8_DELTA, VP8_KEY, frame
from tests.api.whip_rig import CollectingService, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

SDP = (
    "v=0\r\ns=-\r\na=control:*\r\nm=audio 0 RTP/AVP 0\r\nm=video 0 RTP/AVP 97\r\na=rtpmap:97 VP8/90000\r\n"
    "a=control:t1\r\n"
)
ONE = PullPolicy(networks=(ip_network("127.0.0.1/32"),))
OK = b"RTSP/1.0 200 OK\r\n\r\n"


def described(sdp: str = SDP) -> bytes:
    return f"RTSP/1.0 200 OK\r\nContent-Length: {len(sdp)}\r\n\r\n{sdp}".encode()


@asynccontextmanager
async def scripted(answer: Callable[[str, int], bytes]) -> AsyncIterator[str]:
    """A server that answers request number n of a method with these bytes, and hangs up on no bytes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            for number in range(100):
                request = await reader.readuntil(b"\r\n\r\n")
                data = answer(request.decode().split()[0], number)
                if not data:
                    break
                writer.write(data)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"rtsp://127.0.0.1:{server.sockets[0].getsockname()[1]}/cam"


def interleaved(channel: int, packet: bytes) -> bytes:
    return b"$" + bytes((channel,)) + len(packet).to_bytes(2, "big") + packet


async def test_packets_use_the_channels_of_the_server() -> None:
    packets = b"".join(
        interleaved(6, frame(n, VP8_KEY if n == 0 else VP8_DELTA)) + interleaved(9, b"?") for n in range(5)
    )
    answers = {
        "DESCRIBE": described(), "PLAY": OK + packets + b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n" + packets,
        "SETUP": b"RTSP/1.0 200 OK\r\nSession: 7;timeout=60\r\nTransport: RTP/AVP/TCP;interleaved=6-7\r\n\r\n",
    }
    service = CollectingService()
    server = scripted(lambda method, _: answers.get(method, b""))
    async with nothing_left(), server as url, pulls_of(service, ONE) as pulls:
        await pulls.sources.pull(StreamIdentity("cam"), url)
        session = await service.first()
        await until(lambda: len(session.units) == 5)
        assert session.spec.codec is Codec.VP8
        await pulls.registry.stop("cam")
        assert session.ended is EndReason.STOPPED


async def test_redirects_reach_no_forbidden_address() -> None:
    async with canary() as (port, seen):
        for target, code in (
            (f"rtsp://127.0.0.2:{port}/x", "address_not_allowed"), (f"http://127.0.0.1:{port}/x", "scheme_not_allowed"),
            ("file:///etc/passwd", "scheme_not_allowed"), ("rtsp://10.0.0.1/x", "address_not_allowed"),
        ):
            moved = f"RTSP/1.0 302 Found\r\nLocation: {target}\r\n\r\n".encode()
            assert await problem_of(lambda *_, moved=moved: moved) == code     # type: ignore[misc]
        assert seen == []


@pytest.mark.parametrize(("answer", "code"), [
    (b"HTTP/1.1 200 OK\r\n\r\n", "protocol_error"), (b"x" * 2**21, "protocol_error"),
    (b"RTSP/1.0 200 OK\r\nContent-Length: 99999999\r\n\r\n", "protocol_error"), (b"", "connection_lost"),
    (b"RTSP/1.0 404 Not Found\r\n\r\n", "not_found"), (b"RTSP/1.0 454 No\r\n\r\n", "refused"),
    (described("v=0\r\nm=audio 0 RTP/AVP 0\r\n"), "no_video"),
    (described(SDP.replace("VP8", "H265")), "unsupported_codec"),
    (b'RTSP/1.0 401 No\r\nWWW-Authenticate: Digest realm="r", nonce="n"\r\n\r\n', "unauthorized"),
])
async def test_sources_without_supported_video_are_reported(answer: bytes, code: str) -> None:
    assert await problem_of(lambda *_: answer) == code


async def problem_of(answer: Callable[[str, int], bytes]) -> str:
    """What becomes of a source that answers like this."""
    async with scripted(answer) as url, pulls_of(CollectingService(), ONE, replace(QUICK, retry_s=0.0)) as pulls:
        await pulls.sources.pull(StreamIdentity("cam"), url.replace("//", "//ann:hush@"))
        await until(lambda: not len(pulls.registry))
        (status,) = pulls.registry.list()
        assert status.problem is not None
        assert "hush" not in status.problem.message
        return status.problem.code


def test_digests_match_the_examples_of_the_standards() -> None:
    """RFC 2069 as RTSP has it (its example, as corrected), and the form of RFC 7616."""
    asked = 'Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093"'
    old = RtspLogin("Mufasa", "Circle Of Life", asked)
    assert 'response="670fd8c2df070c60b045671b8b24ff02"' in old.header("GET", "/dir/index.html")
    new = RtspLogin("u", "p", 'Digest realm="r", nonce="n", qop="auth", algorithm=SHA-256').header("DESCRIBE", "rtsp://h/")
    assert "qop=auth, nc=00000001, cnonce=" in new
    assert len(new.partition('response="')[2].partition('"')[0]) == 64
    assert best_challenge(("Basic realm=x", 'Digest realm="r"')) == 'Digest realm="r"'
    assert best_challenge(("Negotiate",)) is None
    assert RtspLogin("a", "b", "Basic x").header("PLAY", "x") == "Basic YTpi"


@given(st.text(max_size=300), st.binary(max_size=300))
def test_any_text_is_parsed_or_refused(text: str, data: bytes) -> None:
    for sdp in (text, SDP + text, f"{SDP}a=fmtp:97 sprop-parameter-sets={text}"):
        with suppress(PullFailed):
            offered_video(sdp.replace("\r\n", "\n"), "rtsp://h/")
    with suppress(PullFailed):
        read_head(data)
    with suppress(PullFailed):
        assert read_head(b"RTSP/1.0 200 OK\r\n" + data).length >= 0
    RtspLogin("u", "p", text).header("PLAY", "x")
