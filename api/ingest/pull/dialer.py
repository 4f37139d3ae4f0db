"""Outbound connections of pulled sources.

Each host name is resolved once. All its addresses must be allowed, and the connection goes to the checked address.
"""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64encode
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import httpx

from api.ingest.pull.errors import PullFailed, PullRefused, failed_status
from api.ingest.pull.url_policy import SECURE, Place, PullPolicy
from consumers.claim_check import resolve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    Resolve = Callable[[str, int], Awaitable[list[str]]]

_HTTP = ("http", "https")
_MAX_REDIRECTS = 3
_STREAM_BYTES = 2**20


class Fetched(NamedTuple):
    """A response whose body is not read yet; `place` is its URL after redirects."""

    response: httpx.Response
    place: Place


class Request(NamedTuple):
    """An HTTP request. A redirect to another host drops its `Authorization` header."""

    method: str
    url: str
    headers: Mapping[str, str] = {}
    content: bytes | None = None


def basic_login(place: Place) -> str:
    """Returns the `Authorization` value for the login of this URL."""
    return "Basic " + b64encode(f"{place.user}:{place.password}".encode()).decode()


def _client(timeout_s: float) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        timeout=timeout_s, trust_env=False, follow_redirects=False, verify=ssl.create_default_context(),
        headers={"Accept-Encoding": "identity", "User-Agent": "deepguard"},
    )


@dataclass(frozen=True)
class Dialer:
    """Connects as the policy allows. `timeout_s` limits each connection and each read of an HTTP body."""

    policy: PullPolicy = field(default_factory=PullPolicy)
    timeout_s: float = 10.0
    resolve: Resolve = resolve

    async def address_of(self, place: Place) -> str:
        """Returns the IP address to connect to. Raises PullRefused (host_unknown, address_not_allowed)."""
        try:
            async with asyncio.timeout(self.timeout_s):
                addresses = await self.resolve(place.host, place.port)
        except (OSError, UnicodeError, TimeoutError):
            raise PullRefused("host_unknown", f"{place.host} cannot be resolved") from None
        for address in addresses:
            self.policy.check_address(address)
        return addresses[0]

    async def connect(self, place: Place) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Opens a TCP connection, with TLS if the scheme requires it. Raises PullFailed."""
        address = await self.address_of(place)
        secure = place.scheme in SECURE
        try:
            async with asyncio.timeout(self.timeout_s):
                return await asyncio.open_connection(
                    address, place.port, limit=_STREAM_BYTES, ssl=ssl.create_default_context() if secure else None,
                    server_hostname=place.host if secure else None,
                )
        except TimeoutError:
            raise PullFailed("timeout", f"{place.authority} does not answer") from None
        except OSError as error:
            raise PullFailed("unreachable", f"{place.authority}: {error.strerror or type(error).__name__}") from None

    @asynccontextmanager
    async def fetch(self, request: Request) -> AsyncIterator[Fetched]:
        """Sends an HTTP request and follows at most three redirects. Raises PullFailed, also for a status from 400."""
        async with _client(self.timeout_s) as client:
            place, headers = self.policy.check(request.url, _HTTP), dict(request.headers)
            if place.user:
                headers["Authorization"] = basic_login(place)
            for _ in range(_MAX_REDIRECTS + 1):
                response = await self._send(client, request, place, headers)
                try:
                    if not response.has_redirect_location:
                        if response.status_code >= 300:
                            raise failed_status(response.status_code)
                        yield Fetched(response, place)
                        return
                    before, place = place, self._redirected(response, place)
                    if before[:3] != place[:3]:
                        headers.pop("Authorization", None)
                finally:
                    await response.aclose()
        raise PullFailed("too_many_redirects", f"more than {_MAX_REDIRECTS} redirects", is_final=True)

    def _redirected(self, response: httpx.Response, place: Place) -> Place:
        try:
            url = str(httpx.URL(place.url).join(response.headers["location"]))
        except (httpx.InvalidURL, UnicodeError):
            raise PullRefused("bad_url", "the source redirects to a malformed URL") from None
        return self.policy.check(url, _HTTP)

    async def _send(
        self, client: httpx.AsyncClient, request: Request, place: Place, headers: dict[str, str]
    ) -> httpx.Response:
        pinned = httpx.URL(place.url).copy_with(host=await self.address_of(place))
        plain = client.build_request(
            request.method, pinned, headers={**headers, "Host": place.authority}, content=request.content,
            extensions={"sni_hostname": place.host},
        )
        try:
            return await client.send(plain, stream=True)
        except httpx.TimeoutException:
            raise PullFailed("timeout", f"{place.authority} does not answer") from None
        except httpx.HTTPError as error:
            raise PullFailed("unreachable", f"{place.authority}: {type(error).__name__}") from None
