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
from consumers.outbound_http import (
    HostUnresolved,
    OutboundClient,
    OutboundRequest,
    TooManyRedirects,
    checked_address,
    resolve,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from consumers.outbound_http import Resolve

_STREAM_BYTES = 2**20


class Fetched(NamedTuple):
    """A response whose body is not read yet; `place` is its URL after redirects."""

    response: httpx.Response
    place: Place


def basic_login(place: Place) -> str:
    """Returns the `Authorization` value for the login of this URL."""
    return "Basic " + b64encode(f"{place.user}:{place.password}".encode()).decode()


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
                return await checked_address(place, self.policy.check_address, self.resolve)
        except (HostUnresolved, TimeoutError):
            raise PullRefused("host_unknown", f"{place.host} cannot be resolved") from None

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
    async def fetch(self, request: OutboundRequest) -> AsyncIterator[Fetched]:
        """Sends an HTTP request and follows at most three redirects. Raises PullFailed, also for a status from 400."""
        place, headers = self.policy.check_url(request.url), dict(request.headers)
        if place.user:
            headers["Authorization"] = basic_login(place)
        client: OutboundClient[Place] = OutboundClient(self.policy, self.timeout_s, self._resolve_in_time)
        try:
            response, place = await self._open(client, request._replace(headers=headers))
            try:
                if response.status_code >= 300:
                    raise failed_status(response.status_code)
                yield Fetched(response, place)
            finally:
                await response.aclose()
        finally:
            await client.close()

    async def _resolve_in_time(self, host: str, port: int) -> list[str]:
        async with asyncio.timeout(self.timeout_s):
            return await self.resolve(host, port)

    async def _open(self, client: OutboundClient[Place], request: OutboundRequest) -> tuple[httpx.Response, Place]:
        try:
            return await client.open(request)
        except HostUnresolved as error:
            raise PullRefused("host_unknown", str(error)) from None
        except (httpx.InvalidURL, UnicodeError):
            raise PullRefused("bad_url", "the source redirects to a malformed URL") from None
        except TooManyRedirects as error:
            raise PullFailed("too_many_redirects", str(error), is_final=True) from None
        except httpx.TimeoutException as error:
            raise PullFailed("timeout", f"{error.request.headers['Host']} does not answer") from None
        except httpx.HTTPError as error:
            authority = error.request.headers["Host"]
            raise PullFailed("unreachable", f"{authority}: {type(error).__name__}") from None
