"""Remote ICE candidates: parsing, and which of them checks may be sent to. No I/O."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import NamedTuple

MAX_CANDIDATES = 32

_CANDIDATE = re.compile(
    r"([A-Za-z0-9+/]{1,32}) (\d{1,3}) ([A-Za-z-]{1,16}) (\d{1,10}) ([A-Za-z0-9.:%-]{1,255}) (\d{1,5}) "
    r"typ (host|srflx|prflx|relay)(?: .*)?", re.ASCII,
)
_RTP = 1


class RemoteCandidate(NamedTuple):
    """An address that the remote side offers. `kind` is the ICE candidate type."""

    foundation: str
    component: int
    transport: str
    priority: int
    address: str
    port: int
    kind: str

    def as_attribute(self) -> str:
        return (
            f"candidate:{self.foundation} {self.component} {self.transport} {self.priority} {self.address} {self.port} "
            f"typ {self.kind}"
        )


def read_candidate(value: str) -> RemoteCandidate | None:
    """Parses the text after `a=candidate:`; returns None if it is malformed (RFC 8839 5.1)."""
    match = _CANDIDATE.fullmatch(value)
    if match is None or int(match[6]) > 65535 or int(match[4]) >= 2**32:
        return None
    return RemoteCandidate(match[1], int(match[2]), match[3].lower(), int(match[4]), match[5], int(match[6]), match[7])


def is_usable(candidate: RemoteCandidate, loopback: bool) -> bool:
    """Whether checks may be sent to a candidate: UDP to one unicast IP address, on loopback only if `loopback`.

    Host names are refused because they would have to be looked up.
    """
    if candidate.transport != "udp" or candidate.component != _RTP or candidate.port == 0:
        return False
    try:
        address = ip_address(candidate.address)
    except ValueError:
        return False
    if address.is_loopback:
        return loopback
    return not (address.is_multicast or address.is_unspecified or address.is_link_local or address.is_reserved)
