"""Allow-list of claim-check URLs: scheme, host, port and path prefix, and the addresses behind them. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit

from consumers.errors import ContractBroken
from consumers.outbound_http import host_matches, may_contact

if TYPE_CHECKING:
    from collections.abc import Iterable

_PORTS = {"http": 80, "https": 443}


class AllowedTarget(NamedTuple):
    """A parsed URL; `path` is decoded."""

    scheme: str
    host: str
    port: int
    path: str


@dataclass(frozen=True, slots=True)
class AllowList:
    """URL prefixes, such as `https://media.example.com/clips/` or `https://*.example.com/`; none allows nothing.

    Scheme, host and port must be equal, and the path must start with the prefix's path. `private` allows addresses
    that are not on the public internet.
    """

    prefixes: tuple[AllowedTarget, ...] = ()
    private: bool = False

    @classmethod
    def of(cls, urls: Iterable[str], private: bool = False) -> AllowList:
        """Parses the prefixes. Raises ContractBroken for one that is not a plain URL."""
        return cls(tuple(target_of(url) for url in urls), private)

    def check_url(self, url: str) -> AllowedTarget:
        """Parses a URL and checks it against the prefixes. Raises ContractBroken (bad_reference, refused_reference)."""
        target = target_of(url)
        if not any(_covers(prefix, target) for prefix in self.prefixes):
            raise ContractBroken("refused_reference", f"{target.scheme}://{target.host} is not on the allow-list")
        return target

    def check_address(self, address: str) -> None:
        """Raises ContractBroken (refused_reference) for an address that is not global, unless `private`."""
        if not may_contact(address, any_address=self.private):
            raise ContractBroken("refused_reference", "the reference leads to a private address")


@dataclass(frozen=True, slots=True)
class ClaimConfig:
    """Limits of claim-check fetches. `limit_s` is for one whole fetch with redirects; `at_once` for the process."""

    allowed: AllowList = field(default_factory=AllowList)
    payload_bytes: int = 8 * 2**20
    limit_s: float = 10.0
    at_once: int = 8


def target_of(url: str) -> AllowedTarget:
    """Parses an HTTP or HTTPS URL without a login. Raises ContractBroken (bad_reference)."""
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme, parts.hostname, parts.port
        has_login = parts.username is not None or parts.password is not None
    except ValueError:
        raise ContractBroken("bad_reference", "the reference is not a URL") from None
    if scheme not in _PORTS:
        raise ContractBroken("bad_reference", f"expected an http or https reference, got {scheme[:16]!r}")
    path = unquote(unquote(parts.path or "/"))
    is_odd = has_login or "\\" in url or any(part in (".", "..") for part in path.split("/"))
    if is_odd or not host or host.startswith("."):
        raise ContractBroken("bad_reference", "the reference is not a plain URL")
    return AllowedTarget(scheme, host.rstrip("."), port or _PORTS[scheme], path)


def _covers(prefix: AllowedTarget, target: AllowedTarget) -> bool:
    if (prefix.scheme, prefix.port) != (target.scheme, target.port) or not target.path.startswith(prefix.path):
        return False
    return host_matches(prefix.host, target.host)
