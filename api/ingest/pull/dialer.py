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

from api.ingest.pull.errors import PullFailed, PullRefused, bad_redirect, failed_status
from api.ingest.pull.url_policy import SECURE, MediaUrl, PullPolicy
from consumers.outbound_http import (
    HostUnresolved,
    MalformedRedirect,
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
    """A response whose body is not read yet; `location` is its URL after redirects."""

    response: httpx.Response
    location: MediaUrl


def basic_login(location: MediaUrl) -> str:
    """Returns the `Authorization` value for the login of this URL."""
    return "Basic " + b64encode(f"{location.user}:{location.password}".encode()).decode()


@dataclass(frozen=True)
class Dialer:
    """Connects as the policy allows. `timeout_s` limits each connection and each read of an HTTP body."""

    policy: PullPolicy = field(default_factory=PullPolicy)
    timeout_s: float = 10.0
    resolve: Resolve = resolve

    async def address_of(self, location: MediaUrl) -> str:
        """Returns the IP address to connect to. Raises PullRefused (host_unknown, address_not_allowed)."""
        try:
            async with asyncio.timeout(self.timeout_s):
                return await checked_address(location, self.policy.check_address, self.resolve)
        except (HostUnresolved, TimeoutError):
            raise PullRefused("host_unknown", f"{location.host} cannot be resolved") from None

    async def connect(self, location: MediaUrl) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Opens a TCP connection, with TLS if the scheme requires it. Raises PullFailed."""
        address = await self.address_of(location)
        secure = location.scheme in SECURE
        try:
            async with asyncio.timeout(self.timeout_s):
                return await asyncio.open_connection(
                    address, location.port, limit=_STREAM_BYTES, ssl=ssl.create_default_context() if secure else None,
                    server_hostname=location.host if secure else None,
                )
        except TimeoutError:
            raise PullFailed("timeout", f"{location.authority} does not answer") from None
        except OSError as error:
            raise PullFailed("unreachable", f"{location.authority}: {error.strerror or type(error).__name__}") from None

    @asynccontextmanager
    async def fetch(self, request: OutboundRequest) -> AsyncIterator[Fetched]:
        """Sends an HTTP request and follows at most three redirects. Raises PullFailed, also for a status from 400."""
        location, headers = self.policy.check_url(request.url), dict(request.headers)
        if location.user:
            headers["Authorization"] = basic_login(location)
        client: OutboundClient[MediaUrl] = OutboundClient(self.policy, self.timeout_s, self._resolve_in_time)
        try:
            response, location = await self._open(client, request._replace(headers=headers))
            try:
                if response.status_code >= 300:
                    raise failed_status(response.status_code)
                yield Fetched(response, location)
            finally:
                await response.aclose()
        finally:
            await client.close()

    async def _resolve_in_time(self, host: str, port: int) -> list[str]:
        async with asyncio.timeout(self.timeout_s):
            return await self.resolve(host, port)

    async def _open(
        self, client: OutboundClient[MediaUrl], request: OutboundRequest
    ) -> tuple[httpx.Response, MediaUrl]:
        try:
            return await client.open(request)
        except HostUnresolved as error:
            raise PullRefused("host_unknown", str(error)) from None
        except (MalformedRedirect, httpx.InvalidURL, UnicodeError):
            raise bad_redirect() from None
        except PullRefused as refused:
            raise (bad_redirect() if refused.code == "bad_url" else refused) from None
        except TooManyRedirects as error:
            raise PullFailed("too_many_redirects", str(error), is_final=True) from None
        except httpx.TimeoutException as error:
            raise PullFailed("timeout", f"{error.request.headers['Host']} does not answer") from None
        except httpx.HTTPError as error:
            authority = error.request.headers["Host"]
            raise PullFailed("unreachable", f"{authority}: {type(error).__name__}") from None
