from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import msgspec
import pytest

from api.incidents.webhook_outbox import CLAIM_S, WebhookOutbox, enqueue
from stream.events import IncidentClosed, IncidentOpened
from stream.types import CloseReason

if TYPE_CHECKING:
    from api.incidents.database import Database

TARGET = "https://one.example/"
OPENED = IncidentOpened(
    id="inc_1", stream="call", epoch=7, verdict="call/7/9", opened_s=1.5, pts_s=5.0, tracks=(1,), prob_fake=0.99,
    suspicion=1.0, model=None, rules_sha256="0" * 64, source="whip",
)
CLOSED = IncidentClosed(
    id="inc_1", stream="call", epoch=7, reason=CloseReason.ALARM_OVER, opened_s=1.5, closed_s=9.5, pts_s=13.0
)


@pytest.fixture
def outbox(database: Database) -> WebhookOutbox:
    with database.writing() as connection:
        enqueue(connection, OPENED, [TARGET, "https://two.example/"], 1000.0)
        enqueue(connection, CLOSED, [TARGET], 1001.0)
    return WebhookOutbox(database)


def test_messages_come_in_order_with_stable_ids_and_the_events_fields(outbox: WebhookOutbox) -> None:
    first, second = outbox.take(TARGET, 2000.0), outbox.take(TARGET, 2000.0)
    assert first is not None
    assert second is not None
    assert (first.message_id, second.message_id) == ("inc_1.opened", "inc_1.closed")
    body = msgspec.json.decode(first.body)
    assert (body["type"], body["timestamp"]) == ("incident.opened", "1970-01-01T00:16:40+00:00")
    assert (body["data"]["id"], body["data"]["verdict"], "type" in body["data"]) == ("inc_1", "call/7/9", False)
    assert outbox.take(TARGET, 2000.0) is None


def test_a_claimed_message_is_not_given_out_again(outbox: WebhookOutbox) -> None:
    with ThreadPoolExecutor(4) as threads:
        taken = [d for d in threads.map(lambda _: outbox.take(TARGET, 2000.0), range(8)) if d is not None]
    assert len({delivery.id for delivery in taken}) == len(taken) <= 2
    while outbox.take(TARGET, 2000.0) is not None:
        pass
    assert outbox.take(TARGET, 2000.0 + CLAIM_S - 1) is None
    assert outbox.take(TARGET, 2000.0 + CLAIM_S) is not None, "it was taken by one who died"


def test_a_delivered_message_is_removed(outbox: WebhookOutbox) -> None:
    first = outbox.take(TARGET, 2000.0)
    assert first is not None
    outbox.done(first)
    second = outbox.take(TARGET, 1e9)
    assert second is not None
    assert second.message_id == "inc_1.closed"
    other = outbox.take("https://two.example/", 2000.0)
    assert other is not None, "each target has its own copy"


def test_a_failed_delivery_is_retried_later(outbox: WebhookOutbox) -> None:
    first = outbox.take(TARGET, 2000.0)
    assert first is not None
    outbox.failed(first, "answered 500", 2500.0)
    outbox.done(outbox.take(TARGET, 2000.0))       # type: ignore[arg-type]
    assert outbox.next_due_s(TARGET) == 2500.0
    assert outbox.take(TARGET, 2499.0) is None
    again = outbox.take(TARGET, 2500.0)
    assert again is not None
    assert (again.message_id, again.attempts) == ("inc_1.opened", 1)


def test_dead_letters_can_be_listed_retried_and_deleted(outbox: WebhookOutbox) -> None:
    for _ in range(2):
        delivery = outbox.take(TARGET, 2000.0)
        assert delivery is not None
        outbox.failed(delivery, "answered 500" + "!" * 1000, None)
    assert outbox.take(TARGET, 1e9) is None
    assert outbox.next_due_s(TARGET) is None
    first, second = outbox.dead(10)
    assert (first.message_id, first.target, first.attempts, len(first.error)) == ("inc_1.opened", TARGET, 1, 300)
    assert outbox.dead(10, after=first.id) == (second,)
    assert outbox.drop(second.id)
    assert not outbox.drop(second.id)
    assert outbox.retry(first.id)
    assert not outbox.retry(first.id)
    again = outbox.take(TARGET, 2000.0)
    assert again is not None
    assert (again.id, again.attempts) == (first.id, 0)
