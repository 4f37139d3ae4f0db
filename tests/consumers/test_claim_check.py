"""Claim checks: allowed references are fetched, all others are refused."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from fractions import Fraction
from typing import TYPE_CHECKING

import pytest

from consumers.claim_check import ClaimFetcher
from consumers.errors import ContractBroken, ReferenceUnavailable
from consumers.media_contract import ClaimCheck, ContentType, Media, RecordIdentity
from consumers.url_allowlist import AllowList, ClaimConfig
from tests.consumers.store import Store, running_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PICTURE = b"\xff\xd8\xff a picture"
LIMIT_BYTES = 1000


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    async with running_store() as running:
        running.put("/media/a.jpg", PICTURE)
        yield running


def claim(uri: str, sha256: str | None = None) -> ClaimCheck:
    identity = RecordIdentity("call-7", 1_700_000_000, 3, 1_700_000_000.5)
    return ClaimCheck(Media(identity, ContentType.JPEG, 0, Fraction(1, 90_000), b""), uri, sha256)


async def redeem(
    uri: str, *prefixes: str, private: bool = True, sha256: str | None = None, addresses: list[str] | None = None
) -> Media:
    config = ClaimConfig(AllowList.of(prefixes, private), payload_bytes=LIMIT_BYTES, limit_s=2.0)

    async def lookup(_host: str, _port: int) -> list[str]:
        return addresses or []

    claims = ClaimFetcher(config) if addresses is None else ClaimFetcher(config, lookup)
    try:
        return await claims.redeem(claim(uri, sha256))
    finally:
        await claims.close()


async def refusal(uri: str, *prefixes: str, private: bool = True, addresses: list[str] | None = None) -> str:
    with pytest.raises(ContractBroken) as refused:
        await redeem(uri, *prefixes, private=private, addresses=addresses)
    return refused.value.code


async def test_an_allowed_reference_is_fetched_and_its_digest_checked(store: Store) -> None:
    digest = hashlib.sha256(PICTURE).hexdigest()
    media = await redeem(store.url("/media/a.jpg"), store.url("/media/"), sha256=digest)
    assert media.payload == PICTURE
    assert media.identity.id == "call-7/1700000000/3"
    with pytest.raises(ContractBroken, match="sha256"):
        await redeem(store.url("/media/a.jpg"), store.url("/media/"), sha256="0" * 64)


async def test_a_signed_url_is_requested_unchanged(store: Store) -> None:
    signed = "/media/a.jpg?X-Amz-Signature=ab%2Fcd&X-Amz-Expires=60"
    store.put(signed, PICTURE)
    assert (await redeem(store.url(signed), store.url("/media/"))).payload == PICTURE
    (head,) = store.asked
    assert head.startswith(f"GET {signed} HTTP/1.1\r\n")
    assert f"Host: 127.0.0.1:{store.port}\r\n" in head


async def test_without_an_allow_list_nothing_is_fetched(store: Store) -> None:
    assert await refusal(store.url("/media/a.jpg")) == "refused_reference"
    assert not store.asked


@pytest.mark.parametrize(
    "uri",
    [
        "https://media.example.com.evil.org/clips/a", "https://evil.org/media.example.com/clips/a",
        "https://media.example.com:8443/clips/a", "http://media.example.com/clips/a", "https://media.example.com/other",
        "https://amedia.example.com/clips/a", "https://example.com/clips/a", "https://example.org/a",
    ],
)
async def test_near_misses_of_the_allow_list_are_refused(uri: str) -> None:
    prefixes = ("https://media.example.com/clips/", "https://*.example.org/")
    assert await refusal(uri, *prefixes, addresses=["93.184.216.34"]) == "refused_reference"


@pytest.mark.parametrize(
    "uri",
    [
        "file:///etc/passwd", "gopher://media.example.com/1", "s3://bucket/key", "ftp://media.example.com/clips/a",
        "https://media.example.com/clips/../admin", "https://media.example.com/clips/%2e%2e/admin",
        "https://media.example.com/clips/%252e%252e/admin", "https://media.example.com\\@evil.org/clips/a",
        "https://me@media.example.com/clips/a", "https:///clips/a", "https://.example.com/clips/a",
        "https://[::1/clips/a", "https://a:99999/clips/a",
    ],
)
async def test_a_malformed_url_is_refused(uri: str) -> None:
    assert await refusal(uri, "https://media.example.com/clips/", addresses=["93.184.216.34"]) == "bad_reference"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1",
        "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::",
        "2001:0:4136:e378:8000:63bf:80ff:fffe",
    ],
)
async def test_names_of_private_addresses_are_refused(address: str) -> None:
    prefix = "https://media.example.com/"
    assert await refusal(prefix + "a", prefix, private=False, addresses=[address]) == "refused_reference"
    both = ["93.184.216.34", address]
    assert await refusal(prefix + "a", prefix, private=False, addresses=both) == "refused_reference"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f000001", "0177.0.0.1", "127.1"])
async def test_every_spelling_of_loopback_is_refused(store: Store, host: str) -> None:
    assert await refusal(store.url("/media/a.jpg", host), store.url("/", host), private=False) == "refused_reference"
    assert not store.asked


async def test_the_connection_goes_to_the_checked_address(store: Store) -> None:
    uri = f"http://media.example.com:{store.port}/media/a.jpg"
    media = await redeem(uri, f"http://*.example.com:{store.port}/", addresses=["127.0.0.1"])
    assert media.payload == PICTURE
    assert f"Host: media.example.com:{store.port}\r\n" in store.asked[0]


async def test_every_redirect_is_checked(store: Store) -> None:
    store.put("/media/inside", b"", "302 Found", Location="http://169.254.169.254/latest/meta-data")
    store.put("/media/up", b"", "307 Temporary Redirect", Location="/secret")
    store.put("/media/file", b"", "301 Moved Permanently", Location="file:///etc/passwd")
    store.put("/media/near", b"", "303 See Other", Location="a.jpg")
    store.put("/media/round", b"", "302 Found", Location="/media/round")
    store.put("/secret", b"secret")
    prefix = store.url("/media/")
    assert await refusal(store.url("/media/inside"), prefix) == "refused_reference"
    assert await refusal(store.url("/media/up"), prefix) == "refused_reference"
    assert await refusal(store.url("/media/file"), prefix) == "bad_reference"
    assert await refusal(store.url("/media/round"), prefix) == "bad_reference"
    assert not any("/secret" in head for head in store.asked)
    assert (await redeem(store.url("/media/near"), prefix)).payload == PICTURE


async def test_a_payload_above_the_limit_is_refused(store: Store) -> None:
    async def without_end(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        while True:
            writer.write(bytes(500))
            await writer.drain()

    store.put("/media/large", bytes(LIMIT_BYTES + 1))
    store.put("/media/fits", bytes(LIMIT_BYTES))
    store.put("/media/bomb", gzip.compress(bytes(10**6)), Content_Encoding="gzip")
    store.answers["/media/endless"] = without_end
    prefix = store.url("/media/")
    assert await refusal(store.url("/media/large"), prefix) == "too_large"
    assert await refusal(store.url("/media/endless"), prefix) == "too_large"
    assert await refusal(store.url("/media/bomb"), prefix) == "bad_reference"
    assert len((await redeem(store.url("/media/fits"), prefix)).payload) == LIMIT_BYTES


async def test_temporary_and_permanent_failures_differ(store: Store) -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
        while True:
            writer.write(b".")
            await writer.drain()
            await asyncio.sleep(0.5)

    async def cut(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")

    store.answers |= {"/media/slow": drip, "/media/cut": cut}
    store.put("/media/busy", b"", "503 Service Unavailable")
    store.put("/media/denied", b"", "403 Forbidden")
    store.put("/media/empty", b"")
    prefix = store.url("/media/")
    for path in ("/media/slow", "/media/cut", "/media/busy"):
        with pytest.raises(ReferenceUnavailable):
            await redeem(store.url(path), prefix)
    assert await refusal(store.url("/media/denied"), prefix) == "gone"
    assert await refusal(store.url("/media/absent"), prefix) == "gone"
    assert await refusal(store.url("/media/empty"), prefix) == "no_payload"
    with pytest.raises(ReferenceUnavailable):
        await redeem("http://127.0.0.1:9/a", "http://127.0.0.1:9/")
