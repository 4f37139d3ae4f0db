"""Fetches what a claim check refers to. The URL comes from a stranger: every hop is held against the allow-list, and
the connection goes to the very address that was checked, whatever the name leads to a moment later.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import httpx

from consumers.errors import ContractBroken, ReferenceUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from consumers.media_contract import ClaimCheck, Media
    from consumers.url_allowlist import AllowedTarget, ClaimConfig

    Resolve = Callable[[str, int], Awaitable[list[str]]]

_MAX_REDIRECTS = 3
_TRY_LATER = frozenset((408, 425, 429, 500, 502, 503, 504))


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of a name. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


class Claims:
    """One process's fetches. Close it at the end."""

    def __init__(self, config: ClaimConfig, resolve: Resolve = resolve) -> None:
        self._config = config
        self._resolve = resolve
        self._turns = asyncio.Semaphore(config.at_once)
        self._client = httpx.AsyncClient(
            timeout=config.limit_s, trust_env=False, follow_redirects=False,
            headers={"Accept-Encoding": "identity", "User-Agent": "deepguard"},
        )

    async def redeem(self, claim: ClaimCheck) -> Media:
        """The media with its payload.

        Raises ContractBroken (refused_reference, bad_reference, gone, too_large, no_payload, wrong_digest) for what
        will never work, ReferenceUnavailable for what may work later.
        """
        try:
            async with self._turns, asyncio.timeout(self._config.limit_s):
                return claim.redeem(await self._fetch(claim.uri))
        except TimeoutError:
            raise ReferenceUnavailable(f"nothing whole came within {self._config.limit_s:g} s") from None
        except (httpx.HTTPError, OSError) as error:
            raise ReferenceUnavailable(f"the reference cannot be fetched: {type(error).__name__}") from error
        except (httpx.InvalidURL, UnicodeError) as error:
            raise ContractBroken("bad_reference", "the reference is not a URL") from error

    async def close(self) -> None:
        await self._client.aclose()

    async def _fetch(self, url: str) -> bytes:
        for _ in range(_MAX_REDIRECTS + 1):
            target = self._config.allowed.check_url(url)
            async with self._client.stream(
                "GET", await self._pinned(url, target), headers={"Host": _authority(target)},
                extensions={"sni_hostname": target.host},
            ) as response:
                if not response.has_redirect_location:
                    return await self._body(response)
                url = str(httpx.URL(url).join(response.headers["location"]))
        raise ContractBroken("bad_reference", f"more than {_MAX_REDIRECTS} redirects")

    async def _pinned(self, url: str, target: AllowedTarget) -> httpx.URL:
        """The same URL at an address; all addresses of the name have to be allowed."""
        addresses = await self._resolve(target.host, target.port)
        for address in addresses:
            self._config.allowed.check_address(address)
        return httpx.URL(url).copy_with(host=addresses[0])

    async def _body(self, response: httpx.Response) -> bytes:
        if response.status_code in _TRY_LATER:
            raise ReferenceUnavailable(f"the store answers {response.status_code}")
        if response.status_code != httpx.codes.OK:
            raise ContractBroken("gone", f"the store answers {response.status_code}")
        if response.headers.get("content-encoding", "identity") != "identity":
            raise ContractBroken("bad_reference", "the store compresses the payload")
        payload = bytearray()
        async for part in response.aiter_raw():
            payload += part
            if len(payload) > self._config.payload_bytes:
                raise ContractBroken("too_large", f"more than {self._config.payload_bytes} bytes")
        return bytes(payload)


def _authority(target: AllowedTarget) -> str:
    host = f"[{target.host}]" if ":" in target.host else target.host
    return host if target.port in (80, 443) else f"{host}:{target.port}"
