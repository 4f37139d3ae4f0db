"""The last touches to the answer that a WHIP publisher gets. Text in, text out; no I/O."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from api.ingest.whip.offer import PreparedOffer

_OWN_ADDRESS = re.compile(r"(a=candidate:(?:\S+ ){4}|c=IN IP[46] )([0-9a-fA-F.:]+)(.*)")


def finish_answer(answer: str, offer: PreparedOffer, public_addresses: tuple[str, ...] = ()) -> str:
    """The answer as the publisher gets it: its own H.264 profile confirmed, no description of media that we send,
    because we send none, and `public_addresses` in place of our own ones of the same family."""
    lines = []
    for line in answer.splitlines():
        if line.startswith(("a=ssrc", "a=msid")):
            continue
        if offer.fmtp and line.startswith(f"a=fmtp:{offer.payload_type} "):
            line = f"a=fmtp:{offer.payload_type} {offer.fmtp}"
        lines += _announced(line, public_addresses)
        if line == "a=rtcp-mux":
            lines.append("a=rtcp-mux-only")
    return "\r\n".join(lines) + "\r\n"


def _announced(line: str, public_addresses: tuple[str, ...]) -> list[str]:
    """The line once per public address that stands for the one in it; as it is where none does."""
    match = _OWN_ADDRESS.fullmatch(line)
    if match is None:
        return [line]
    own = ip_address(match[2])
    if own.is_loopback or own.is_unspecified:
        return [line]
    same = [public for public in public_addresses if ip_address(public).version == own.version]
    if line.startswith("c="):
        same = same[:1]
    return [f"{match[1]}{public}{match[3]}" for public in same] or [line]
