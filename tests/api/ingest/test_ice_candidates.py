from __future__ import annotations

import pytest

from api.ingest.ice_candidates import is_usable, read_candidate

HOST = "1467250027 1 udp 2122260223 192.0.2.7 46243 typ host generation 0 ufrag EsAw"


def test_a_candidate_is_parsed() -> None:
    candidate = read_candidate(HOST)
    assert candidate is not None
    assert candidate[:7] == ("1467250027", 1, "udp", 2122260223, "192.0.2.7", 46243, "host")
    assert read_candidate(candidate.as_attribute().removeprefix("candidate:")) == candidate


@pytest.mark.parametrize("text", [
    "", "1", HOST.replace("typ", "type"), HOST.replace("host", "house"), HOST.replace("46243", "65536"),
    HOST.replace("2122260223", "4294967296"), HOST.replace("1467250027", "x" * 33), HOST.replace(" 1 udp", " one udp"),
    HOST.replace("192.0.2.7", "192.0.2.7\r\na=x"), HOST.replace("192.0.2.7", "a" * 256), HOST + "\n",
])
def test_malformed_candidates_are_none(text: str) -> None:
    assert read_candidate(text) is None


@pytest.mark.parametrize(("address", "usable"), [
    ("192.168.0.7", True), ("203.0.113.7", True), ("2001:db8::7", True), ("127.0.0.1", False), ("::1", False),
    ("0.0.0.0", False), ("::", False), ("224.0.0.1", False), ("ff02::1", False), ("169.254.169.254", False),
    ("fe80::1", False), ("240.0.0.1", False), ("255.255.255.255", False), ("name.local", False), ("localhost", False),
    ("1", False), ("127.1", False), ("0x7f.1", False),
])
def test_which_addresses_checks_may_be_sent_to(address: str, usable: bool) -> None:
    candidate = read_candidate(HOST.replace("192.0.2.7", address))
    assert candidate is not None
    assert is_usable(candidate, loopback=False) is usable


def test_loopback_is_used_where_the_service_is_bound_to_it() -> None:
    candidate = read_candidate(HOST.replace("192.0.2.7", "127.0.0.1"))
    assert candidate is not None
    assert is_usable(candidate, loopback=True)


@pytest.mark.parametrize("text", [
    HOST.replace("udp", "tcp"), HOST.replace(" 1 udp", " 2 udp"), HOST.replace("46243", "0"),
])
def test_only_rtp_by_udp_is_checked(text: str) -> None:
    candidate = read_candidate(text)
    assert candidate is not None
    assert not is_usable(candidate, loopback=False)
