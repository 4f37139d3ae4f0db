"""Which references may be fetched: by an allow-list of URLs, and by the address that a name leads to. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit

from consumers.errors import ContractBroken

if TYPE_CHECKING:
    from collections.abc import Iterable

_PORTS = {"http": 80, "https": 443}
_NAT64 = IPv6Network("64:ff9b::/96")
_ANY_BELOW = "*."


class AllowedTarget(NamedTuple):
    """Where a URL leads; `path` is the decoded path."""

    scheme: str
    host: str
    port: int
    path: str


@dataclass(frozen=True, slots=True)
class AllowList:
    """URL prefixes, such as `https://media.example.com/clips/` or `https://*.example.com/`; none allows nothing.

    Scheme, host and port have to be equal, the path has to begin as the prefix's. `private` allows addresses that are
    not of the public internet.
    """

    prefixes: tuple[AllowedTarget, ...] = ()
    private: bool = False

    @classmethod
    def of(cls, urls: Iterable[str], private: bool = False) -> AllowList:
        """Raises ContractBroken for what is no URL prefix."""
        return cls(tuple(target_of(url) for url in urls), private)

    def check_url(self, url: str) -> AllowedTarget:
        """Raises ContractBroken (bad_reference, refused_reference)."""
        target = target_of(url)
        if not any(_covers(prefix, target) for prefix in self.prefixes):
            raise ContractBroken("refused_reference", f"{target.scheme}://{target.host} is not on the allow-list")
        return target

    def check_address(self, address: str) -> None:
        """Raises ContractBroken (refused_reference) for addresses that a stranger must not have us talk to."""
        if not self.private and not is_public(ip_address(address.partition("%")[0])):
            raise ContractBroken("refused_reference", "the reference leads to a private address")


@dataclass(frozen=True, slots=True)
class ClaimConfig:
    """`limit_s` is for one fetch as a whole, redirects included; `at_once` for all fetches of this process."""

    allowed: AllowList = field(default_factory=AllowList)
    payload_bytes: int = 8 * 2**20
    limit_s: float = 10.0
    at_once: int = 8


def target_of(url: str) -> AllowedTarget:
    """Raises ContractBroken (bad_reference)."""
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme, parts.hostname, parts.port
        has_login = parts.username is not None or parts.password is not None
    except ValueError:
        raise ContractBroken("bad_reference", "the reference is not a URL") from None
    if scheme not in _PORTS:
        raise ContractBroken("bad_reference", f"references are fetched by http and https, not by {scheme[:16]!r}")
    path = unquote(unquote(parts.path or "/"))
    is_odd = has_login or "\\" in url or any(part in (".", "..") for part in path.split("/"))
    if is_odd or not host or host.startswith("."):
        raise ContractBroken("bad_reference", "the reference is not a plain URL")
    return AllowedTarget(scheme, host.rstrip("."), port or _PORTS[scheme], path)


def _covers(prefix: AllowedTarget, target: AllowedTarget) -> bool:
    if (prefix.scheme, prefix.port) != (target.scheme, target.port) or not target.path.startswith(prefix.path):
        return False
    if prefix.host.startswith(_ANY_BELOW):
        return target.host.endswith(prefix.host[1:])
    return target.host == prefix.host


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether it is of the public internet, also where it stands for another address."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
    return address.is_global and not address.is_multicast
