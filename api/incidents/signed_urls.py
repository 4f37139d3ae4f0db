"""Signed picture URLs that need no API key and expire after a few minutes."""

from __future__ import annotations

import hashlib
import hmac
import math
from urllib.parse import quote

VALID_S = 300


class UrlSigner:
    """Signs and checks URL paths with HMAC-SHA256. `now_s` is Unix seconds."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def url(self, path: str, now_s: float) -> str:
        """Returns the path with its signature. The URL is constant for a minute, so that browsers can cache it."""
        expires = math.ceil(now_s / 60) * 60 + VALID_S
        return f"{path}?expires={expires}&signature={self._signature(path, expires)}"

    def is_valid(self, path: str, *, expires: str, signature: str, now_s: float) -> bool:
        """Returns whether the query parameters `expires` and `signature` are valid for this path and not expired."""
        if not (expires.isascii() and expires.isdecimal()) or int(expires) < now_s:
            return False
        expected = self._signature(path, int(expires))
        return hmac.compare_digest(expected.encode(), signature.encode("utf-8", "surrogatepass"))

    def _signature(self, path: str, expires: int) -> str:
        return hmac.new(self._key, f"{path}\n{expires}".encode(), hashlib.sha256).hexdigest()


def evidence_path(incident: str, name: str) -> str:
    """Returns the path of an evidence file of an incident."""
    return f"/v1/incidents/{quote(incident, safe='')}/evidence/{quote(name)}"


def frame_path(stream: str, epoch: int, sequence: int) -> str:
    """Returns the path of an evidence frame of a stream."""
    return f"/v1/streams/{quote(stream, safe='')}/evidence/{epoch}/{sequence}.jpg"
