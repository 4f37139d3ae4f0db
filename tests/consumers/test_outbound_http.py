"""Outbound-HTTP guard: the addresses that claim checks, pulls and webhooks may contact."""

from __future__ import annotations

import asyncio
import socket
import ssl
from ipaddress import IPv4Network
from typing import TYPE_CHECKING

import httpx
import pytest

from api.incidents.webhook_sender import WebhookSender, WebhookTarget
from api.ingest.pull.errors import PullRefused
from api.ingest.pull.url_policy import PullPolicy
from consumers.errors import ContractBroken
from consumers.outbound_http import OutboundClient, OutboundRequest, may_contact
from consumers.url_allowlist import AllowList
from tests.kafka.certificates import write_certificate

if TYPE_CHECKING:
    from pathlib import Path

LOCAL = (
    "0.0.0.0", "10.0.0.1", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.16.0.1", "192.0.2.1", "192.88.99.1",
    "192.168.1.1", "192.0.0.1", "192.0.0.8", "192.0.0.9", "192.0.0.10", "198.18.0.1", "198.19.255.255",
    "198.51.100.1", "203.0.113.1", "0.1.2.3", "100.127.255.255", "224.0.0.1", "233.252.0.1", "239.1.1.1", "240.0.0.1",
    "255.255.255.255",
    "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00::1", "ff02::1", "2001:db8::1", "100::1", "ff0e::1",
    "2001:1::1", "2001:2::1", "2001:3::1", "2001:20::1",    # IETF protocol assignments
    "::127.0.0.1", "::8.8.8.8",                             # IPv4-compatible
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:192.0.0.9", "::ffff:224.0.0.1",      # IPv4-mapped
    "::ffff:0:127.0.0.1", "::ffff:0:8.8.8.8",               # IPv4-translated
    "fec0::1",                                              # site-local
    "64:ff9b::7f00:1", "64:ff9b::10.0.0.1", "64:ff9b::224.0.0.1",       # NAT64 of an address that is not global
    "64:ff9b:1::1", "64:ff9b:1::8.8.8.8",                   # NAT64 for local use
    "5f00::1", "3fff::1", "3fff:fff::1",                    # segment routing, documentation
    "2002:7f00:1::", "2002:a00:1::1",                       # 6to4 of a private address
    "2001:0:808:808:0:0:80ff:fffe", "2001:0:7f00:1:0:0:f7f7:f7f7",      # Teredo of a private client, server
)
GLOBAL = (
    "8.8.8.8", "93.184.216.34", "2606:4700::1111", "2a00:1450:4001:81b::200e",
    "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1", "2001:0:808:808:0:0:f7f7:f7f7",
)


@pytest.mark.parametrize("address", LOCAL)
def test_claim_checks_and_pulls_refuse_addresses_that_are_not_global(address: str) -> None:
    assert not may_contact(address)
    with pytest.raises(ContractBroken) as refused:
        AllowList().check_address(address)
    assert refused.value.code == "refused_reference"
    with pytest.raises(PullRefused) as pull_refused:
        PullPolicy().check_address(address)
    assert pull_refused.value.code == "address_not_allowed"


@pytest.mark.parametrize("address", [address for address in LOCAL if "%" not in address])
async def test_webhooks_refuse_addresses_that_are_not_global(address: str) -> None:
    host = f"[{address}]" if ":" in address else address
    target = WebhookTarget(f"https://{host}:9/", "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
    sender = WebhookSender()
    try:
        assert "private address" in (await sender.send(target, "msg_1", "{}")).error
    finally:
        await sender.close()


@pytest.mark.parametrize("address", GLOBAL)
def test_global_addresses_are_allowed(address: str) -> None:
    assert may_contact(address)
    AllowList().check_address(address)
    PullPolicy().check_address(address)


def test_private_addresses_are_allowed_by_setting_alone() -> None:
    networks = (IPv4Network("10.0.0.0/8"),)
    assert may_contact("10.1.2.3", networks)
    assert may_contact("::ffff:10.1.2.3", networks)
    assert not may_contact("::10.1.2.3", networks)
    assert not may_contact("192.168.0.1", networks)
    assert may_contact("192.168.0.1", any_address=True)
    assert not may_contact("not an address", any_address=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1"])
async def test_webhooks_open_no_connection_to_this_machine(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as canary:
        canary.setblocking(False)
        sender = WebhookSender()
        target = WebhookTarget(f"http://{host}:{canary.getsockname()[1]}/", "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
        try:
            assert "private address" in (await sender.send(target, "msg_1", "{}")).error
        finally:
            await sender.close()
        with pytest.raises(BlockingIOError):
            canary.accept()


async def test_each_host_shows_its_own_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two names share an address and the server keeps connections; its certificate is for 127.0.0.1 alone."""
    trusted, shown = write_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(shown)
    requests: list[bytes] = []

    async def keep_alive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                requests.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        except asyncio.IncompleteReadError:
            writer.close()

    async def lookup(_host: str, _port: int) -> list[str]:
        return ["127.0.0.1"]

    async with await asyncio.start_server(keep_alive, "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        urls = [f"https://{host}:{port}/" for host in ("127.0.0.1", "other.test")]
        client = OutboundClient(AllowList.of(urls, private=True), 5.0, lookup)
        try:
            response, _ = await client.open(OutboundRequest("GET", urls[0]))
            assert await response.aread() == b"ok"
            with pytest.raises(httpx.ConnectError, match=r"not valid for 'other\.test'"):
                await client.open(OutboundRequest("GET", urls[1]))
        finally:
            await client.close()
    assert len(requests) == 1
