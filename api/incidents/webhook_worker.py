"""Webhook worker: delivers the messages of one target in order, with retries over three days."""

from __future__ import annotations

import asyncio
import contextlib
import time
from concurrent.futures import Executor

import structlog

from api.errors import StorageUnavailable
from api.incidents.webhook_outbox import Delivery, WebhookOutbox
from api.incidents.webhook_sender import DeliveryResult, WebhookSender, WebhookTarget
from stream.retry_policy import RetryPolicy

log = structlog.get_logger(__name__)

DELIVERY_POLICY = RetryPolicy(
    (5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 50400.0, 72000.0, 86400.0),
)
"""Delays between the ten attempts, as Standard Webhooks recommends; more than three days in all."""

_POLL_INTERVAL_S = 15.0
_DATABASE_POLICY = RetryPolicy((5.0,))


class WebhookWorker:
    """Delivers to one target; run `run` as a task. A slow target does not delay the others."""

    def __init__(
        self, target: WebhookTarget, outbox: WebhookOutbox, sender: WebhookSender, executor: Executor,
        policy: RetryPolicy = DELIVERY_POLICY,
    ) -> None:
        self._target = target
        self._outbox = outbox
        self._sender = sender
        self._executor = executor
        self._policy = policy
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Makes the worker look for queued messages now."""
        self._wake.set()

    async def run(self) -> None:
        """Runs until cancelled. A delivery in progress is then sent again when its claim expires."""
        while True:
            try:
                await self._round()
            except StorageUnavailable as error:
                log.error("webhooks wait for the database", error=error.cause)
                await asyncio.sleep(_DATABASE_POLICY.delay_s())
            except Exception:
                log.exception("webhook failed")
                await asyncio.sleep(_DATABASE_POLICY.delay_s())

    async def _round(self) -> None:
        self._wake.clear()
        loop = asyncio.get_running_loop()
        delivery = await loop.run_in_executor(self._executor, self._outbox.take, self._target.url, time.time())
        if delivery is None:
            due_s = await loop.run_in_executor(self._executor, self._outbox.next_due_s, self._target.url)
            await self._sleep(_POLL_INTERVAL_S if due_s is None else due_s - time.time())
            return
        outcome = await self._sender.send(self._target, delivery.message_id, delivery.body)
        await loop.run_in_executor(self._executor, self._record, delivery, outcome)

    async def _sleep(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(max(seconds, 0.05), _POLL_INTERVAL_S)):
                await self._wake.wait()

    def _record(self, delivery: Delivery, outcome: DeliveryResult) -> None:
        if not outcome.error:
            self._outbox.done(delivery)
            return
        is_last = outcome.gone or delivery.attempts >= len(self._policy.delays_s)
        due_s = None
        if not is_last:
            due_s = time.time() + self._policy.delay_s(delivery.attempts + 1, outcome.retry_after_s)
        log.warning(
            "webhook not delivered", message_id=delivery.message_id, error=outcome.error,
            attempts=delivery.attempts + 1, given_up=due_s is None,
        )
        self._outbox.failed(delivery, outcome.error, due_s)
