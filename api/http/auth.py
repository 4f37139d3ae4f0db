"""API-key authentication and caller identity: the key, or the address where no keys are configured."""

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
    """An authenticated client. Rate limits count by `identity`; jobs are visible within one `tenant`.

    `tenant` is empty where no keys are configured.
    """

    identity: str
    tenant: str


class KeyRing:
    """The accepted API keys, stored as SHA-256 digests. Each lookup compares all of them in constant time."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests = tuple(hashlib.sha256(key.encode()).digest() for key in keys)

    @property
    def required(self) -> bool:
        return bool(self._digests)

    def identify(self, token: str) -> str | None:
        """Returns a short name of the key that is safe to log, or None for an unknown token."""
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        found = None
        for known in self._digests:
            if hmac.compare_digest(known, digest):
                found = "key-" + known.hex()[:8]
        return found


def address_of(connection: HTTPConnection) -> str:
    """Returns the client's IP address; an IPv6 address is cut to its /64, the usual prefix of one customer."""
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
    """Returns the bearer token of an Authorization header, or None."""
    scheme, _, token = (header or "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def bearer_of_subprotocols(subprotocols: Iterable[str]) -> str | None:
    """Returns the token of a `bearer.<base64url>` subprotocol, or None.

    Browsers cannot set an Authorization header on a WebSocket.
    """
    for name in subprotocols:
        if name.startswith(_SUBPROTOCOL_PREFIX):
            encoded = name.removeprefix(_SUBPROTOCOL_PREFIX)
            try:
                return base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True).decode()
            except (binascii.Error, ValueError):
                return None
    return None
