"""Webhook sender: one signed POST to a configured target, per Standard Webhooks (standardwebhooks.com)."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

import httpx
from standardwebhooks import Webhook

from consumers.errors import ContractBroken
from consumers.url_allowlist import AllowList, target_of

LIMIT_S = 15.0
_LONGEST_WAIT_S = 24 * 3600
_GONE = 410


@dataclass(frozen=True, slots=True)
class WebhookTarget:
    """A webhook target. `secret` is `whsec_` plus base64 and is not in the repr."""

    url: str
    secret: str = field(repr=False)


class DeliveryResult(NamedTuple):
    """The result of one attempt. `error` is empty on success.

    `gone`: the target answered 410, and the delivery must not be retried. `retry_after_s`: the delay it asks for, or 0.
    """

    error: str = ""
    gone: bool = False
    retry_after_s: float = 0.0


class WebhookSender:
    """Sends to any target. `private` allows non-public addresses. Call `close` at the end."""

    def __init__(self, private: bool = False) -> None:
        self._allowed = AllowList(private=private)
        self._client = httpx.AsyncClient(
            timeout=LIMIT_S, trust_env=False, follow_redirects=False, headers={"User-Agent": "deepguard"}
        )

    async def send(self, target: WebhookTarget, message_id: str, body: str) -> DeliveryResult:
        """Makes one attempt of at most `LIMIT_S` seconds. Raises nothing."""
        try:
            async with asyncio.timeout(LIMIT_S):
                return _outcome_of(await self._post(target, message_id, body))
        except TimeoutError:
            return DeliveryResult(f"no answer within {LIMIT_S:g} s")
        except ContractBroken:
            return DeliveryResult("the target has a private address; set DEEPGUARD_WEBHOOK_PRIVATE=1 to allow it")
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
            return DeliveryResult(f"no connection: {type(error).__name__}")

    async def close(self) -> None:
        await self._client.aclose()

    async def _post(self, target: WebhookTarget, message_id: str, body: str) -> httpx.Response:
        place = target_of(target.url)
        found = await asyncio.get_running_loop().getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
        addresses = [str(entry[4][0]) for entry in found]
        for address in addresses:
            self._allowed.check_address(address)
        url = httpx.URL(target.url)
        request = self._client.build_request(
            "POST", url.copy_with(host=addresses[0]), content=body.encode(),
            headers={**_signed(target, message_id, body), "Host": url.netloc.decode()},
            extensions={"sni_hostname": place.host},
        )
        response = await self._client.send(request, stream=True)     # the response body is not read
        await response.aclose()
        return response


def _signed(target: WebhookTarget, message_id: str, body: str) -> dict[str, str]:
    now = datetime.now(UTC)
    return {
        "content-type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(target.secret).sign(message_id, now, body),
    }


def _outcome_of(response: httpx.Response) -> DeliveryResult:
    if response.is_success:
        return DeliveryResult()
    requested = response.headers.get("retry-after", "")
    wait_s = min(float(requested), _LONGEST_WAIT_S) if requested.isdecimal() else 0.0
    return DeliveryResult(f"answered {response.status_code}", response.status_code == _GONE, wait_s)
