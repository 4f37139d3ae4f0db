"""URL policy of pulled sources: allowed schemes, hosts and IP addresses. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit

from api.ingest.pull.errors import PullRefused
from api.settings.pull import PORTS
from consumers.outbound_http import host_matches, may_contact

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network

MAX_URL = 2048
SECURE = frozenset({"https", "rtsps", "rtmps"})


class MediaUrl(NamedTuple):
    """A parsed URL. `target` is path and query, still encoded; `user` and `password` are decoded."""

    scheme: str
    host: str
    port: int
    target: str
    user: str = ""
    password: str = ""

    @property
    def authority(self) -> str:
        """Host and, unless it is the default, port: as in a `Host` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The URL without its login."""
        return f"{self.scheme}://{self.authority}{self.target}"


def parse_media_url(url: str) -> MediaUrl:
    """Parses a URL. Raises PullRefused (bad_url, scheme_not_allowed)."""
    if len(url) > MAX_URL or not url.isascii() or any(ord(letter) <= 32 or letter in '\\"<>\x7f' for letter in url):
        raise PullRefused("bad_url", f"expected a URL of at most {MAX_URL} printable ASCII characters")
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme, parts.hostname, parts.port
    except ValueError:
        raise PullRefused("bad_url", "the URL cannot be parsed") from None
    if scheme not in PORTS:
        raise PullRefused("scheme_not_allowed", f"expected one of {', '.join(PORTS)}, got {scheme[:16]!r}")
    if not host or host.startswith(".") or "%" in host or parts.fragment or port == 0:
        raise PullRefused("bad_url", "expected a URL with a host, and without a fragment")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if any(ord(letter) < 32 for letter in user + password):
        raise PullRefused("bad_url", "the login has control characters")
    return MediaUrl(scheme, host.rstrip("."), port or PORTS[scheme], target, user, password)


@dataclass(frozen=True, slots=True)
class PullPolicy:
    """`hosts` are names, addresses, or `*.example.com`; empty allows any. `networks` are allowed private networks."""

    schemes: frozenset[str] = frozenset(PORTS)
    hosts: tuple[str, ...] = ()
    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    def check(self, url: str, schemes: tuple[str, ...] = ()) -> MediaUrl:
        """Parses and checks a URL; `schemes`, if given, limits them further.

        Raises PullRefused (bad_url, scheme_not_allowed, host_not_allowed).
        """
        location = parse_media_url(url)
        if schemes and location.scheme not in schemes:
            raise PullRefused("scheme_not_allowed", f"expected {' or '.join(schemes)}, got {location.scheme}")
        if location.scheme not in self.schemes:
            raise PullRefused("scheme_not_allowed", f"{location.scheme} is not one of DEEPGUARD_PULL_SCHEMES")
        if self.hosts and not any(host_matches(host, location.host) for host in self.hosts):
            raise PullRefused("host_not_allowed", f"{location.host} is not one of DEEPGUARD_PULL_HOSTS")
        return location

    def check_url(self, url: str) -> MediaUrl:
        """Does what `check` does, for HTTP and HTTPS alone."""
        return self.check(url, ("http", "https"))

    def allows(self, address: str) -> bool:
        """Whether connections and packets may go to this IP address."""
        return may_contact(address, self.networks)

    def check_address(self, address: str) -> None:
        """Raises PullRefused (address_not_allowed)."""
        if not self.allows(address):
            raise PullRefused(
                "address_not_allowed", "the source is neither on the public internet nor in DEEPGUARD_PULL_NETWORKS"
            )
