"""Malformed redirects end every outbound path with a final, clear error, and no token goes where it does not belong."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

import pytest

from api.clients.whip import PublishOptions, publish
from api.errors import PublishFailed
from api.ingest.pull.url_policy import PullPolicy
from consumers.claim_check import ClaimFetcher
from consumers.errors import ContractBroken
from consumers.outbound_http import OutboundClient, OutboundRequest
from consumers.url_allowlist import AllowList, ClaimConfig
from stream.identity import StreamIdentity
from tests.api.ingest.pull.support import LOOPBACK, SAMPLE, pulls_of
from tests.api.whip_rig import CollectingService, until
from tests.consumers.test_claim_check import claim

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TOKEN = "token-that-nobody-may-see"
MALFORMED = (
    None, b"", b" ", b"http://[", b"http://[v1.x]/", b"http://127.0.0.1:abc/", b"http://127.0.0.1:99999/",
    b"http://127.0.0.1:-1/", b"http://exa mple/", b"http://xn--/", b"http://%41%/", b"http://\xe2\x84\xa1.com/",
    b"/x\ty", b"http://one.test/\r\nLocation: http://two.test/",
)  # fmt: skip

ONLY_HTTP = (MALFORMED[-1], b"http://[v1.x]/", b"http://xn--/")


class Origin(NamedTuple):
    """A server that answers every request alike, and the heads of the requests."""

    port: int
    heads: list[bytes]


@asynccontextmanager
async def origin(answer: bytes) -> AsyncIterator[Origin]:
    heads: list[bytes] = []

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(served, "127.0.0.1", 0) as server:
        yield Origin(server.sockets[0].getsockname()[1], heads)


def redirect(location: bytes | None, protocol: bytes = b"HTTP/1.1", more: bytes = b"") -> bytes:
    if location and location.strip() and b"\n" not in location:
        location += b"?token=" + TOKEN.encode()
    target = b"" if location is None else b"Location: " + location + b"\r\n"
    return protocol + b" 307 Moved\r\n" + target + more + b"CSeq: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(("kind", "location"), [
    # RTSP takes one header of a name, and these hosts for names that no server knows.
    (kind, location) for kind in ("http", "whep", "rtsp") for location in MALFORMED
    if kind != "rtsp" or location not in ONLY_HTTP
])  # fmt: skip
async def test_a_pulled_source_that_redirects_to_no_url_has_failed(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], kind: str, location: bytes | None
) -> None:
    scheme, protocol = ("rtsp", b"RTSP/1.0") if kind == "rtsp" else ("http", b"HTTP/1.1")
    moved = (location or b"").replace(b"http://", scheme.encode() + b"://") if location is not None else None
    async with origin(redirect(moved, protocol)) as source, pulls_of(CollectingService()) as pulls:
        identity = StreamIdentity("cam")
        url = f"{scheme}://127.0.0.1:{source.port}/live?token={TOKEN}"
        await (pulls.sources.whep(identity, url, TOKEN) if kind == "whep" else pulls.sources.pull(identity, url))
        await until(lambda: not len(pulls.registry))
        (status,) = pulls.registry.list()
    assert status.problem is not None
    assert (status.problem.code, status.problem.is_final, len(source.heads)) == ("bad_url", True, 1)
    assert "redirects" in status.problem.message
    assert TOKEN not in repr(status) + caplog.text + "".join(capfd.readouterr())


@pytest.mark.parametrize("location", MALFORMED)
async def test_a_claim_check_that_redirects_to_no_url_is_broken(location: bytes | None) -> None:
    async with origin(redirect(location)) as store:
        allowed = AllowList.of([f"http://127.0.0.1:{store.port}/"], private=True)
        fetcher = ClaimFetcher(ClaimConfig(allowed))
        try:
            with pytest.raises(ContractBroken) as broken:
                await fetcher.redeem(claim(f"http://127.0.0.1:{store.port}/clip?token={TOKEN}"))
        finally:
            await fetcher.close()
    assert broken.value.code == "bad_reference"
    assert TOKEN not in str(broken.value)


@pytest.mark.parametrize("location", MALFORMED[:-2])
async def test_a_publisher_that_is_redirected_to_no_url_says_so(location: bytes | None) -> None:
    async with origin(redirect(location)) as service:
        with pytest.raises(PublishFailed, match="malformed URL") as failed:
            await publish(f"http://127.0.0.1:{service.port}/whip/clip", SAMPLE, PublishOptions(1.0, TOKEN))
    assert TOKEN not in str(failed.value)


async def test_a_malformed_session_url_is_no_crash() -> None:
    created = b"HTTP/1.1 201 Created\r\nLocation: http://[\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    async with origin(created) as service:
        with pytest.raises(PublishFailed, match="malformed URL"):
            await publish(f"http://127.0.0.1:{service.port}/whip/clip", SAMPLE, PublishOptions(1.0))
        async with pulls_of(CollectingService()) as pulls:
            await pulls.sources.whep(StreamIdentity("cam"), f"http://127.0.0.1:{service.port}/w", "")
            await until(lambda: not len(pulls.registry))
            (status,) = pulls.registry.list()
    assert status.problem is not None
    assert (status.problem.code, status.problem.is_final) == ("protocol_error", True)


async def test_another_origin_gets_neither_login_nor_cookie() -> None:
    found = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    async with origin(found) as second:
        cookie = b"Set-Cookie: session=" + TOKEN.encode() + b"\r\n"
        async with origin(redirect(f"http://other.test:{second.port}/#part".encode(), more=cookie)) as first:
            urls = (f"http://127.0.0.1:{first.port}/", {"Authorization": f"Bearer {TOKEN}"})
            client = OutboundClient(PullPolicy(networks=LOOPBACK.networks), 5.0, lookup)
            try:
                response, _ = await client.open(OutboundRequest("GET", *urls))
            finally:
                await client.close()
    assert response.status_code == 200
    assert TOKEN.encode() in first.heads[0]
    assert b"authorization" not in second.heads[0].lower()
    assert b"cookie" not in second.heads[0].lower()


async def lookup(_host: str, _port: int) -> list[str]:
    return ["127.0.0.1"]
