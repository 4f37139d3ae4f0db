"""Transactional outbox of webhook messages, in the database and transaction of the incidents they report.

A message has the same id for every target and attempt. Blocking; call it from threads only.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, Row, delete, func, insert, select, update

from api.incidents.database import Database
from api.incidents.tables import deliveries
from stream import event_encoding
from stream.events import IncidentClosed, IncidentOpened

CLAIM_S = 20.0          # a worker must report a taken delivery within this time, or it is delivered again
_ERROR_CHARACTERS = 300


class Delivery(NamedTuple):
    """One message for one target, after `attempts` failed attempts."""

    id: int
    message_id: str
    body: str
    attempts: int


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A message whose delivery was abandoned."""

    id: int
    message_id: str
    target: str
    created_s: float
    attempts: int
    error: str


def enqueue(
    connection: Connection, event: IncidentOpened | IncidentClosed, targets: Sequence[str], now_s: float
) -> None:
    """Queues an event for every target."""
    plain = event_encoding.to_builtins(event)
    kind = str(plain.pop("type"))
    message = {"type": kind, "timestamp": datetime.fromtimestamp(now_s, UTC).isoformat(), "data": plain}
    rows = [
        {
            "message_id": f"{event.id}.{kind.rpartition('.')[2]}", "target": target,
            "body": msgspec.json.encode(message).decode(), "created_s": now_s, "due_s": 0.0, "attempts": 0,
            "error": "", "is_dead": False,
        }
        for target in targets
    ]
    if rows:
        connection.execute(insert(deliveries), rows)


class WebhookOutbox:
    """The queued deliveries of all targets."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, target: str, now_s: float) -> Delivery | None:
        """Claims the next due delivery for `CLAIM_S` seconds; None if none is due."""
        due = (deliveries.c.target == target, deliveries.c.is_dead.is_(False), deliveries.c.due_s <= now_s)
        with self._database.reading() as connection:
            row = connection.execute(
                select(deliveries).where(*due).order_by(deliveries.c.due_s, deliveries.c.id).limit(1)
            ).first()
        if row is None:
            return None
        with self._database.writing() as connection:
            claimed = connection.execute(
                update(deliveries)
                .where(deliveries.c.id == row.id, deliveries.c.due_s == row.due_s, deliveries.c.is_dead.is_(False))
                .values(due_s=now_s + CLAIM_S)
            )
        return Delivery(row.id, row.message_id, row.body, row.attempts) if claimed.rowcount else None

    def next_due_s(self, target: str) -> float | None:
        """Returns when the next delivery to this target is due, or None."""
        with self._database.reading() as connection:
            due = select(func.min(deliveries.c.due_s)).where(
                deliveries.c.target == target, deliveries.c.is_dead.is_(False)
            )
            return connection.execute(due).scalar()

    def done(self, delivery: Delivery) -> None:
        """Removes a delivered message."""
        with self._database.writing() as connection:
            connection.execute(delete(deliveries).where(deliveries.c.id == delivery.id))

    def failed(self, delivery: Delivery, error: str, due_s: float | None) -> None:
        """Records a failed attempt; retries at `due_s`, or abandons the delivery if that is None."""
        with self._database.writing() as connection:
            connection.execute(
                update(deliveries)
                .where(deliveries.c.id == delivery.id)
                .values(
                    attempts=delivery.attempts + 1, error=error[:_ERROR_CHARACTERS], is_dead=due_s is None,
                    due_s=due_s or 0.0,
                )
            )

    def dead(self, limit: int, after: int = 0) -> tuple[DeadLetter, ...]:
        """Returns abandoned deliveries with an id above `after`, oldest first."""
        with self._database.reading() as connection:
            rows = connection.execute(
                select(deliveries)
                .where(deliveries.c.is_dead, deliveries.c.id > after)
                .order_by(deliveries.c.id)
                .limit(limit)
            )
            return tuple(_dead_letter(row) for row in rows)

    def retry(self, number: int) -> bool:
        """Queues a dead letter again, from the first attempt. Returns False for an unknown id."""
        with self._database.writing() as connection:
            requeued = update(deliveries).where(deliveries.c.id == number, deliveries.c.is_dead)
            return connection.execute(requeued.values(is_dead=False, attempts=0, due_s=0.0)).rowcount > 0

    def drop(self, number: int) -> bool:
        """Deletes a dead letter. Returns False for an unknown id."""
        with self._database.writing() as connection:
            dropped = delete(deliveries).where(deliveries.c.id == number, deliveries.c.is_dead)
            return connection.execute(dropped).rowcount > 0


def _dead_letter(row: Row[tuple[object, ...]]) -> DeadLetter:
    return DeadLetter(
        id=row.id, message_id=row.message_id, target=row.target, created_s=row.created_s, attempts=row.attempts,
        error=row.error,
    )
