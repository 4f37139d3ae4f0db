"""Addresses of pictures that are good for a few minutes without a key: for pages, or in a ticket."""

from __future__ import annotations

import hashlib
import hmac
import math
from urllib.parse import quote

VALID_S = 300


class UrlSigner:
    """Signs and checks paths on the service with one key. `now_s` is Unix time."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def url(self, path: str, now_s: float) -> str:
        """The path with a query. The same for a minute, so that browsers can keep what they got."""
        expires = math.ceil(now_s / 60) * 60 + VALID_S
        return f"{path}?expires={expires}&signature={self._signature(path, expires)}"

    def is_valid(self, path: str, query: tuple[str, str], now_s: float) -> bool:
        """Whether `query`, (expires, signature), is one of ours for this path and not over."""
        expires, signature = query
        if not (expires.isascii() and expires.isdecimal()) or int(expires) < now_s:
            return False
        wanted = self._signature(path, int(expires))
        return hmac.compare_digest(wanted.encode(), signature.encode("utf-8", "surrogatepass"))

    def _signature(self, path: str, expires: int) -> str:
        return hmac.new(self._key, f"{path}\n{expires}".encode(), hashlib.sha256).hexdigest()


def evidence_path(incident: str, name: str) -> str:
    """One file of an incident's evidence."""
    return f"/v1/incidents/{quote(incident, safe='')}/evidence/{quote(name)}"


def frame_path(stream: str, epoch: int, sequence: int) -> str:
    """One evidence frame of a stream."""
    return f"/v1/streams/{quote(stream, safe='')}/evidence/{epoch}/{sequence}.jpg"
