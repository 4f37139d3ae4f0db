"""Addresses of evidence that are good for a few minutes without a key: for pictures on a page, or in a ticket."""

from __future__ import annotations

import hashlib
import hmac
import math
from urllib.parse import quote

VALID_S = 300


class UrlSigner:
    """Signs and checks with one key. `now_s` is Unix time."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def url(self, incident: str, name: str, now_s: float) -> str:
        """A path with query, on the service. The same for a minute, so that browsers can keep what they got."""
        expires = math.ceil(now_s / 60) * 60 + VALID_S
        return (
            f"/v1/incidents/{quote(incident, safe='')}/evidence/{quote(name)}?expires={expires}"
            f"&signature={self._signature(incident, name, expires)}"
        )

    def is_valid(self, incident: str, name: str, query: tuple[str, str], now_s: float) -> bool:
        """Whether `query`, (expires, signature), is one of ours and not over."""
        expires, signature = query
        if not (expires.isascii() and expires.isdecimal()) or int(expires) < now_s:
            return False
        wanted = self._signature(incident, name, int(expires))
        return hmac.compare_digest(wanted.encode(), signature.encode("utf-8", "surrogatepass"))

    def _signature(self, incident: str, name: str, expires: int) -> str:
        return hmac.new(self._key, f"{incident}\n{name}\n{expires}".encode(), hashlib.sha256).hexdigest()
