"""Who is calling: a key of ours, or (where no keys are set) an address."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple

from starlette.requests import HTTPConnection

_SUBPROTOCOL_PREFIX = "bearer."


class Caller(NamedTuple):
    """`identity` is what limits count by; `tenant` separates what callers may see, and is empty without keys."""

    identity: str
    tenant: str


class KeyRing:
    """The keys that are accepted. Keeps digests only; all of them are compared, each in constant time."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests = tuple(hashlib.sha256(key.encode()).digest() for key in keys)

    @property
    def required(self) -> bool:
        return bool(self._digests)

    def identify(self, token: str) -> str | None:
        """A short name of the key that this token is, safe to log; None if it is none of ours."""
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        found = None
        for known in self._digests:
            if hmac.compare_digest(known, digest):
                found = "key-" + known.hex()[:8]
        return found


def address_of(connection: HTTPConnection) -> str:
    """The client's address; IPv6 by its /64, which is what one customer has."""
    host = connection.client.host if connection.client else ""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if isinstance(address, IPv6Address):
        mapped = address.ipv4_mapped
        return str(mapped) if mapped else str(IPv6Address(int(address) >> 64 << 64))
    return host


def bearer_of(header: str | None) -> str | None:
    """The token of an Authorization header, or None."""
    scheme, _, token = (header or "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def bearer_of_subprotocols(subprotocols: Iterable[str]) -> str | None:
    """The token of a WebSocket's `bearer.<base64url>`, which is how a browser can send one; None if there is none."""
    for name in subprotocols:
        if name.startswith(_SUBPROTOCOL_PREFIX):
            encoded = name.removeprefix(_SUBPROTOCOL_PREFIX)
            try:
                return base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True).decode()
            except (binascii.Error, ValueError):
                return None
    return None
