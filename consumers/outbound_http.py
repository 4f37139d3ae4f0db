"""Outbound-HTTP guard: which addresses may be contacted, and requests that go to the checked address only."""

from __future__ import annotations

import asyncio
import socket
import ssl
from http.cookiejar import CookieJar, DefaultCookiePolicy
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar
from urllib.parse import urlsplit

import httpx

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    Resolve = Callable[[str, int], Awaitable[list[str]]]

MAX_REDIRECTS = 3
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_LOCATIONS = "redirect_locations"       # key of a response's extensions
_DEFAULT_PORTS = {"http": 80, "https": 443}
_ANY_SUBDOMAIN = "*."
_GLOBAL_UNICAST = IPv6Network("2000::/3")       # all that IANA has allocated for the public internet
_NAT64 = IPv6Network("64:ff9b::/96")
_SPECIAL = (    # `is_global` of the standard library accepts all or part of these, depending on the Python release
    IPv4Network("192.0.0.0/24"), IPv6Network("2001::/23"),      # IETF protocol assignments
    IPv4Network("192.88.99.0/24"), IPv6Network("3fff::/20"),    # 6to4 relays; documentation (RFC 9637)
)


class Destination(Protocol):
    """The parts of a parsed URL that a connection needs. `host` is without brackets."""

    @property
    def scheme(self) -> str: ...
    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...


Target = TypeVar("Target", bound=Destination)
_Checked = TypeVar("_Checked", bound=Destination, covariant=True)


class OutboundPolicy(Protocol[_Checked]):
    """The rules of one kind of outbound request. Each method raises its caller's error for what it refuses."""

    def check_url(self, url: str) -> _Checked:
        """Parses a URL and checks it, for the first request and for each redirect."""

    def check_address(self, address: str) -> None:
        """Checks one IP address with `may_contact`."""


class TooManyRedirects(Exception):
    """A server redirects more than `MAX_REDIRECTS` times."""


class MalformedRedirect(Exception):
    """A server redirects without a target, or to one that is no URL. The message never holds the target."""


class HostUnresolved(OSError):
    """A host name has no address. `is_malformed`: no name server can ever know it."""

    def __init__(self, host: str, is_malformed: bool) -> None:
        super().__init__(f"{host} cannot be resolved")
        self.is_malformed = is_malformed


class OutboundRequest(NamedTuple):
    """An HTTP request. A redirect to another origin drops its `Authorization` header."""

    method: str
    url: str
    headers: Mapping[str, str] = {}
    content: bytes | None = None
    max_redirects: int = MAX_REDIRECTS


def may_contact(address: str, networks: Iterable[IPv4Network | IPv6Network] = (), any_address: bool = False) -> bool:
    """Returns whether connections may go to an IP address: a global one, or one in `networks`.

    False for text that is no IP address. `any_address` allows every IP address.
    """
    try:
        plain = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = plain.ipv4_mapped if isinstance(plain, IPv6Address) else None
    return any_address or _is_global(plain) or any((mapped or plain) in network for network in networks)


def _is_global(address: IPv4Address | IPv6Address) -> bool:
    """Returns whether an address, and each IPv4 address that it wraps, is of the public internet."""
    wrapped = _wrapped(address) if isinstance(address, IPv6Address) else ()
    if wrapped:
        return all(map(_is_global, wrapped))
    if address.is_multicast or any(address in network for network in _SPECIAL):
        return False
    return address.is_global and (isinstance(address, IPv4Address) or address in _GLOBAL_UNICAST)


def _wrapped(address: IPv6Address) -> tuple[IPv4Address, ...]:
    """Returns the IPv4 addresses in an IPv4-mapped, NAT64, 6to4 or Teredo (server and client) address."""
    if address in _NAT64:
        return (IPv4Address(int(address) & 0xFFFFFFFF),)
    single = address.ipv4_mapped or address.sixtofour
    return (single,) if single is not None else address.teredo or ()


def host_matches(pattern: str, host: str) -> bool:
    """Returns whether a host is the pattern, or below it where the pattern is like `*.example.com`."""
    return host.endswith(pattern[1:]) if pattern.startswith(_ANY_SUBDOMAIN) else host == pattern


def authority_of(target: Destination) -> str:
    """Returns the `Host` header: the host and, unless it is the default of HTTP or HTTPS, the port."""
    host = f"[{target.host}]" if ":" in target.host else target.host
    return host if target.port == _DEFAULT_PORTS.get(target.scheme) else f"{host}:{target.port}"


async def resolve(host: str, port: int) -> list[str]:
    """Returns the addresses of a host name. Raises OSError, UnicodeError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


async def checked_address(
    target: Destination, check_address: Callable[[str], None], lookup: Resolve = resolve
) -> str:
    """Resolves a host once and returns the address to connect to; `check_address` must accept all its addresses.

    Raises HostUnresolved, and the error of `check_address`.
    """
    try:
        addresses = await lookup(target.host, target.port)
    except (OSError, UnicodeError) as error:
        raise HostUnresolved(target.host, isinstance(error, UnicodeError)) from error
    if not addresses:
        raise HostUnresolved(target.host, is_malformed=False)
    for address in addresses:
        check_address(address)
    return addresses[0]


def absolute_url(base: str, location: str) -> str:
    """Returns the URL of a Location header, without its fragment. Raises MalformedRedirect."""
    try:
        target = httpx.URL(base).join(location).copy_with(fragment=None)
        # httpx encodes a host that is none, such as "[".
        has_host = target.scheme not in _DEFAULT_PORTS or (bool(target.host) and "%" not in target.host)
        has_host = has_host and urlsplit(str(target)).port != 0     # raises ValueError outside 0 to 65535
    except (httpx.InvalidURL, ValueError):
        has_host = False
    if not location.strip() or not has_host:
        raise MalformedRedirect("the server names a malformed URL, or none")
    return str(target)


class OutboundClient(Generic[Target]):
    """HTTP client that pins every request to a checked address. Call `close` at the end."""

    def __init__(self, policy: OutboundPolicy[Target], timeout_s: float, lookup: Resolve = resolve) -> None:
        self._policy = policy
        self._lookup = lookup
        self._client = httpx.AsyncClient(
            timeout=timeout_s, trust_env=False, follow_redirects=False, verify=ssl.create_default_context(),
            headers={"Accept-Encoding": "identity", "User-Agent": "deepguard"},
            event_hooks={"response": [_keep_redirect]},
            # Cookies belong to addresses here, not to hosts: one host's would reach another behind the same address.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        )

    async def open(self, request: OutboundRequest) -> tuple[httpx.Response, Target]:
        """Sends a request and returns the response, its body unread, and the destination after redirects.

        The caller closes the response. With no redirects allowed, a redirect is the response. Raises
        TooManyRedirects, MalformedRedirect, HostUnresolved, httpx.HTTPError, httpx.InvalidURL, and the policy's errors.
        """
        url, headers = request.url, dict(request.headers)
        target = self._policy.check_url(url)
        for _ in range(request.max_redirects + 1):
            response = await self._send(request, url, target, headers)
            if not request.max_redirects or response.status_code not in _REDIRECTS:
                return response, target
            await response.aclose()
            url = _redirected(url, response)
            before, target = target, self._policy.check_url(url)
            if (before.scheme, before.host, before.port) != (target.scheme, target.host, target.port):
                headers.pop("Authorization", None)
        raise TooManyRedirects(f"more than {request.max_redirects} redirects")

    async def close(self) -> None:
        await self._client.aclose()

    async def _send(
        self, request: OutboundRequest, url: str, target: Target, headers: dict[str, str]
    ) -> httpx.Response:
        address = await checked_address(target, self._policy.check_address, self._lookup)
        fixed = {"Host": authority_of(target)}
        if target.scheme == "https":
            # The pool knows connections by address: a reused one may have shown the certificate of another host.
            fixed["Connection"] = "close"
        pinned = self._client.build_request(
            request.method, httpx.URL(url).copy_with(host=address, userinfo=b""), content=request.content,
            headers={**headers, **fixed}, extensions={"sni_hostname": target.host},
        )
        return await self._client.send(pinned, stream=True)


async def _keep_redirect(response: httpx.Response) -> None:
    """Takes the targets of a redirect out of its headers; httpx would parse them and fail as if the network had."""
    if response.status_code in _REDIRECTS:
        response.extensions[_LOCATIONS] = response.headers.get_list("location")
        response.headers.pop("location", None)


def _redirected(url: str, response: httpx.Response) -> str:
    """Returns the URL that a redirect leads to, without its fragment. Raises MalformedRedirect."""
    found = response.extensions[_LOCATIONS]
    if len(found) != 1:
        raise MalformedRedirect("the server redirects without a target, or to several")
    return absolute_url(url, found[0])
