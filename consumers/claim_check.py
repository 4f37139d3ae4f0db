"""Claim-check fetcher: downloads the payload that a record refers to, through the outbound-HTTP guard."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx

from consumers.errors import ContractBroken, ReferenceUnavailable
from consumers.outbound_http import (
    HostUnresolved,
    MalformedRedirect,
    OutboundClient,
    OutboundRequest,
    TooManyRedirects,
    resolve,
)

if TYPE_CHECKING:
    from consumers.media_contract import ClaimCheck, Media
    from consumers.outbound_http import Resolve
    from consumers.url_allowlist import AllowedTarget, ClaimConfig

_TRY_LATER = frozenset((408, 425, 429, 500, 502, 503, 504))


class ClaimFetcher:
    """Fetches the claim checks of one process. Call `close` at the end."""

    def __init__(self, config: ClaimConfig, lookup: Resolve = resolve) -> None:
        self._config = config
        self._slots = asyncio.Semaphore(config.at_once)
        self._client: OutboundClient[AllowedTarget] = OutboundClient(config.allowed, config.limit_s, lookup)

    async def redeem(self, claim: ClaimCheck) -> Media:
        """Returns the media with its payload.

        Raises ContractBroken (refused_reference, bad_reference, gone, too_large, no_payload, wrong_digest) for
        permanent failures, ReferenceUnavailable for temporary ones.
        """
        try:
            async with self._slots, asyncio.timeout(self._config.limit_s):
                return claim.redeem(await self._fetch(claim.uri))
        except TimeoutError:
            raise ReferenceUnavailable(f"the fetch took longer than {self._config.limit_s:g} s") from None
        except (MalformedRedirect, TooManyRedirects) as error:
            raise ContractBroken("bad_reference", str(error)) from error
        except HostUnresolved as error:
            if error.is_malformed:
                raise ContractBroken("bad_reference", "the reference is not a URL") from error
            raise ReferenceUnavailable(str(error)) from error
        except (httpx.HTTPError, OSError) as error:
            raise ReferenceUnavailable(f"the reference cannot be fetched: {type(error).__name__}") from error
        except (httpx.InvalidURL, UnicodeError) as error:
            raise ContractBroken("bad_reference", "the reference is not a URL") from error

    async def close(self) -> None:
        await self._client.close()

    async def _fetch(self, url: str) -> bytes:
        response, _ = await self._client.open(OutboundRequest("GET", url))
        try:
            return await self._body(response)
        finally:
            await response.aclose()

    async def _body(self, response: httpx.Response) -> bytes:
        if response.status_code in _TRY_LATER:
            raise ReferenceUnavailable(f"the store answered {response.status_code}")
        if response.status_code != httpx.codes.OK:
            raise ContractBroken("gone", f"the store answered {response.status_code}")
        if response.headers.get("content-encoding", "identity") != "identity":
            raise ContractBroken("bad_reference", "the store compresses the payload; expected identity encoding")
        payload = bytearray()
        async for part in response.aiter_raw():
            payload += part
            if len(payload) > self._config.payload_bytes:
                raise ContractBroken("too_large", f"more than {self._config.payload_bytes} bytes")
        return bytes(payload)
