"""ICE candidates of publishers: how they are read, and which of them may be used. Text in, values out; no I/O."""

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
    """An address that a publisher says it can be reached at. `kind` is ICE's candidate type."""

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
    """Of the text behind `a=candidate:`; None if that is no candidate (RFC 8839 5.1)."""
    match = _CANDIDATE.fullmatch(value)
    if match is None or int(match[6]) > 65535 or int(match[4]) >= 2**32:
        return None
    return RemoteCandidate(match[1], int(match[2]), match[3].lower(), int(match[4]), match[5], int(match[6]), match[7])


def is_usable(candidate: RemoteCandidate, loopback: bool) -> bool:
    """Whether checks may be sent there: by UDP, to one address that is written as such. Names would have to be looked
    up, and addresses that mean this machine or many machines are nobody's camera."""
    if candidate.transport != "udp" or candidate.component != _RTP or candidate.port == 0:
        return False
    try:
        address = ip_address(candidate.address)
    except ValueError:
        return False
    if address.is_loopback:
        return loopback
    return not (address.is_multicast or address.is_unspecified or address.is_link_local or address.is_reserved)
