"""Outbound-HTTP guard: the addresses that claim checks, pulls and webhooks may contact."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest

from api.incidents.webhook_sender import WebhookSender, WebhookTarget
from api.ingest.pull.errors import PullRefused
from api.ingest.pull.url_policy import PullPolicy
from consumers.errors import ContractBroken
from consumers.outbound_http import may_contact
from consumers.url_allowlist import AllowList

LOCAL = (
    "0.0.0.0", "10.0.0.1", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.16.0.1", "192.0.2.1", "192.88.99.1",
    "192.168.1.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
    "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00::1", "ff02::1", "2001:db8::1", "100::1",
    "::127.0.0.1", "::8.8.8.8",                             # IPv4-compatible
    "::ffff:127.0.0.1", "::ffff:10.0.0.1",                  # IPv4-mapped
    "::ffff:0:127.0.0.1", "::ffff:0:8.8.8.8",               # IPv4-translated
    "fec0::1",                                              # site-local
    "64:ff9b::7f00:1", "64:ff9b::10.0.0.1",                 # NAT64 of a private address
    "64:ff9b:1::1", "64:ff9b:1::8.8.8.8",                   # NAT64 for local use
    "5f00::1", "3fff::1", "3fff:fff::1",                    # segment routing, documentation
    "2002:7f00:1::", "2002:a00:1::1",                       # 6to4 of a private address
    "2001:0:808:808:0:0:80ff:fffe", "2001:0:7f00:1:0:0:f7f7:f7f7",      # Teredo of a private client, server
)
GLOBAL = (
    "8.8.8.8", "93.184.216.34", "2606:4700::1111", "2a00:1450:4001:81b::200e",
    "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1",
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
