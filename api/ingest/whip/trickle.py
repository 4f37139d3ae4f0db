"""Trickle ICE fragments (RFC 8840), as WHIP publishers send them with PATCH. No I/O."""

from __future__ import annotations

import re
from typing import NamedTuple

from api.errors import OfferRefused
from api.ingest.ice_candidates import RemoteCandidate, read_candidate

MAX_FRAGMENT_BYTES = 16 * 1024
_MAX_LINES = 200
_LINE = re.compile(r"([am])=([^\x00-\x08\x0a-\x1f\x7f]+)")
_CREDENTIAL = re.compile(r"[A-Za-z0-9+/]{4,256}")
_TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e]*"')


class SdpFragment(NamedTuple):
    """`ufrag` and `password` are empty where the fragment leaves them out."""

    ufrag: str
    password: str
    candidates: tuple[RemoteCandidate, ...]

    def restarts(self, ufrag: str, password: str) -> bool:
        """Whether the fragment names other credentials than the session, which requests an ICE restart."""
        return (self.ufrag or ufrag, self.password or password) != (ufrag, password)


def read_fragment(text: str, mids: tuple[str, ...]) -> SdpFragment:
    """Parses a fragment for media sections with these names. Raises OfferRefused (400)."""
    lines = [line for line in text.replace("\r\n", "\n").split("\n") if line]
    if not lines or len(lines) > _MAX_LINES:
        raise _malformed(f"a fragment has 1 to {_MAX_LINES} lines")
    found: dict[str, set[str]] = {"ice-ufrag": set(), "ice-pwd": set(), "mid": set()}
    candidates = []
    for number, line in enumerate(lines, 1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise _malformed(f"line {number} is neither a= nor m=")
        name, _, value = match[2].partition(":")
        if match[1] == "a" and name in found:
            found[name].add(value)
        elif match[1] == "a" and name == "candidate":
            candidates.append(_candidate(value, number))
    if not found["mid"] <= set(mids):
        raise _malformed("a=mid names no media section of this session")
    return SdpFragment(_one(found["ice-ufrag"]), _one(found["ice-pwd"]), tuple(candidates))


def require_match(if_match: str | None, etag: str) -> None:
    """Raises OfferRefused: 428 without If-Match, 412 if it names another ICE session (RFC 9110 13.1.1)."""
    if if_match is None:
        raise OfferRefused(428, "if_match_missing", "send If-Match with the ETag of the answer")
    if if_match.strip() != "*" and etag not in _TAG.findall(if_match):
        raise OfferRefused(412, "etag_stale", "If-Match names another ICE session")


def _candidate(value: str, number: int) -> RemoteCandidate:
    candidate = read_candidate(value)
    if candidate is None:
        raise _malformed(f"line {number} is not an ICE candidate")
    return candidate


def _one(values: set[str]) -> str:
    if len(values) > 1 or not all(_CREDENTIAL.fullmatch(value) for value in values):
        raise _malformed("a fragment has one a=ice-ufrag and one a=ice-pwd")
    return next(iter(values), "")


def _malformed(message: str) -> OfferRefused:
    return OfferRefused(400, "fragment_malformed", message)
