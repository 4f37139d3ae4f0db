from __future__ import annotations

import asyncio
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from api.incidents.webhook_outbox import WebhookOutbox, enqueue
from api.incidents.webhook_sender import WebhookSender, WebhookTarget
from api.incidents.webhook_worker import DELIVERY_POLICY, WebhookWorker
from stream.retry_policy import RetryPolicy
from tests.api.incidents.receiver import SECRET, receiving
from tests.api.incidents.test_webhook_outbox import CLOSED, OPENED

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from api.incidents.database import Database


@asynccontextmanager
async def delivering(
    database: Database, url: str, waits_s: tuple[float, ...] = (0.1, 0.1), private: bool = True
) -> AsyncIterator[WebhookWorker]:
    """Runs a worker with short retry delays."""
    sender, executor = WebhookSender(private), ThreadPoolExecutor(2)
    worker = WebhookWorker(WebhookTarget(url, SECRET), WebhookOutbox(database), sender, executor, RetryPolicy(waits_s))
    running = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await sender.close()
        executor.shutdown()


def queue(database: Database, *targets: str) -> None:
    with database.writing() as connection:
        for event in (OPENED, CLOSED):
            enqueue(connection, event, targets, time.time())


async def until_empty(database: Database, url: str) -> None:
    async with asyncio.timeout(30):
        while WebhookOutbox(database).next_due_s(url) is not None:
            await asyncio.sleep(0.02)


async def test_messages_arrive_signed_in_order_and_once(database: Database) -> None:
    with receiving() as receiver:
        queue(database, receiver.url)
        async with delivering(database, receiver.url):
            await until_empty(database, receiver.url)
        first, second = receiver.received
        assert (first.id, second.id) == ("inc_1.opened", "inc_1.closed")
        assert (first.message["type"], first.message["data"]["stream"]) == ("incident.opened", "call")
        assert second.message["data"]["reason"] == "alarm_over"
        assert receiver.unsigned == []


@pytest.mark.parametrize("status", [500, 404, 302, 429])
async def test_a_refused_message_is_retried_with_the_same_id(database: Database, status: int) -> None:
    with receiving() as receiver:
        receiver.answers = [status, status]
        queue(database, receiver.url)
        async with delivering(database, receiver.url):
            await until_empty(database, receiver.url)
        assert sorted(receiver.ids) == ["inc_1.closed"] * 2 + ["inc_1.opened"] * 2
        assert WebhookOutbox(database).dead(10) == ()


async def test_an_undeliverable_message_becomes_a_dead_letter_that_can_be_retried(database: Database) -> None:
    with receiving() as receiver:
        receiver.answers = [503] * 6
        queue(database, receiver.url)
        async with delivering(database, receiver.url) as worker:
            await until_empty(database, receiver.url)
            dead = WebhookOutbox(database).dead(10)
            assert [(one.message_id, one.attempts, one.error) for one in dead] == [
                ("inc_1.opened", 3, "answered 503"), ("inc_1.closed", 3, "answered 503")
            ]
            assert WebhookOutbox(database).retry(dead[0].id)
            worker.wake()
            await until_empty(database, receiver.url)
        assert receiver.ids.count("inc_1.opened") == 4


async def test_a_target_that_answers_410_is_not_retried(database: Database) -> None:
    with receiving() as receiver:
        receiver.answers = [410]
        queue(database, receiver.url)
        async with delivering(database, receiver.url):
            await until_empty(database, receiver.url)
        assert receiver.ids == ["inc_1.opened", "inc_1.closed"]
        (dead,) = WebhookOutbox(database).dead(10)
        assert (dead.message_id, dead.error) == ("inc_1.opened", "answered 410")


async def test_a_recovered_receiver_gets_the_missed_messages(database: Database) -> None:
    with receiving() as receiver:
        url, port = receiver.url, int(receiver.url.split(":")[2].split("/")[0])
    queue(database, url)
    async with delivering(database, url, (0.2,) * 100):
        await asyncio.sleep(0.5)
        with receiving(port) as back:
            await until_empty(database, url)
            assert sorted(back.ids) == ["inc_1.closed", "inc_1.opened"]


async def test_private_addresses_are_not_talked_to_unless_allowed(database: Database) -> None:
    with receiving() as receiver:
        queue(database, receiver.url)
        async with delivering(database, receiver.url, (), private=False):
            await until_empty(database, receiver.url)
        assert receiver.received == receiver.unsigned == []
        assert {one.error for one in WebhookOutbox(database).dead(10)} == {
            "the target has a private address; set DEEPGUARD_WEBHOOK_PRIVATE=1 to allow it"
        }


async def test_a_slow_target_does_not_delay_other_targets(database: Database) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, receiving() as receiver:
        slow = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        queue(database, slow, receiver.url)
        async with delivering(database, slow), delivering(database, receiver.url):
            await until_empty(database, receiver.url)
    assert WebhookOutbox(database).next_due_s(slow) is not None


def test_attempts_go_on_for_three_days() -> None:
    assert sum(DELIVERY_POLICY.delays_s) > 3 * 86400
    assert list(DELIVERY_POLICY.delays_s) == sorted(DELIVERY_POLICY.delays_s)
