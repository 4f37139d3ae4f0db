"""Post-processing of the SDP answer for a WHIP publisher. Text in, text out; no I/O."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from api.ingest.whip.offer import PreparedOffer

_FMTP = re.compile(r"a=fmtp:(\d{1,3}) ")
_OWN_ADDRESS = re.compile(r"(a=candidate:(?:\S+ ){4}|c=IN IP[46] )([0-9a-fA-F.:]+)(.*)")


def finish_answer(answer: str, offer: PreparedOffer, public_addresses: tuple[str, ...] = ()) -> str:
    """Confirms the publisher's H.264 profiles, removes SSRC and msid lines, and replaces our addresses.

    Each of our own addresses becomes the `public_addresses` of its family, if there are any.
    """
    formats = {each.payload_type: each.fmtp for each in offer.formats if each.fmtp}
    lines = []
    for line in answer.splitlines():
        if line.startswith(("a=ssrc", "a=msid")):
            continue
        described = _FMTP.match(line)
        if described is not None and int(described[1]) in formats:
            line = f"a=fmtp:{described[1]} {formats[int(described[1])]}"
        lines += _announced(line, public_addresses)
        if line == "a=rtcp-mux":
            lines.append("a=rtcp-mux-only")
    return "\r\n".join(lines) + "\r\n"


def _announced(line: str, public_addresses: tuple[str, ...]) -> list[str]:
    """Returns the line once per public address of its family, or unchanged without one."""
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
