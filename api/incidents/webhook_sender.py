"""Webhook sender: one signed POST to a configured target, per Standard Webhooks (standardwebhooks.com)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

import httpx
from standardwebhooks import Webhook

from consumers.errors import ContractBroken
from consumers.outbound_http import OutboundClient, OutboundRequest, may_contact
from consumers.url_allowlist import AllowedTarget, target_of

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


@dataclass(frozen=True, slots=True)
class _WebhookPolicy:
    """Implements `OutboundPolicy`: any target whose address is global, or any address if `private`."""

    private: bool

    def check_url(self, url: str) -> AllowedTarget:
        return target_of(url)

    def check_address(self, address: str) -> None:
        if not may_contact(address, any_address=self.private):
            raise ContractBroken("refused_reference", "the target has a private address")


class WebhookSender:
    """Sends to any target. `private` allows non-public addresses. Call `close` at the end."""

    def __init__(self, private: bool = False) -> None:
        self._client: OutboundClient[AllowedTarget] = OutboundClient(_WebhookPolicy(private), LIMIT_S)

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
        await self._client.close()

    async def _post(self, target: WebhookTarget, message_id: str, body: str) -> httpx.Response:
        headers = _signed(target, message_id, body)
        response, _ = await self._client.open(
            OutboundRequest("POST", target.url, headers, body.encode(), max_redirects=0)
        )
        await response.aclose()     # the response body is not read
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
