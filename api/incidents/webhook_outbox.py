"""Webhook messages that wait to be delivered, in the same database and transaction as what they tell of.

A message has the same id for every target and at every attempt. Blocks; called from threads alone.
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

CLAIM_S = 20.0          # how long one who has taken a delivery has to say what became of it
_ERROR_CHARACTERS = 300


class Delivery(NamedTuple):
    """One message for one target; `attempts` were made before."""

    id: int
    message_id: str
    body: str
    attempts: int


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A message that was given up."""

    id: int
    message_id: str
    target: str
    created_s: float
    attempts: int
    error: str


def enqueue(
    connection: Connection, event: IncidentOpened | IncidentClosed, targets: Sequence[str], now_s: float
) -> None:
    """Queues the event for every target."""
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
    """The deliveries of all targets."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, target: str, now_s: float) -> Delivery | None:
        """The next due delivery; nobody else gets it for `CLAIM_S`."""
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
        """When the next delivery to this target is due; None if none waits."""
        with self._database.reading() as connection:
            due = select(func.min(deliveries.c.due_s)).where(
                deliveries.c.target == target, deliveries.c.is_dead.is_(False)
            )
            return connection.execute(due).scalar()

    def done(self, delivery: Delivery) -> None:
        """It has arrived."""
        with self._database.writing() as connection:
            connection.execute(delete(deliveries).where(deliveries.c.id == delivery.id))

    def failed(self, delivery: Delivery, error: str, due_s: float | None) -> None:
        """It has not; try again at `due_s`, or never (None)."""
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
        """What was given up, oldest first, behind the one with id `after`."""
        with self._database.reading() as connection:
            rows = connection.execute(
                select(deliveries)
                .where(deliveries.c.is_dead, deliveries.c.id > after)
                .order_by(deliveries.c.id)
                .limit(limit)
            )
            return tuple(_dead_letter(row) for row in rows)

    def retry(self, number: int) -> bool:
        """Tries a dead one again, from the beginning; False if there is no such one."""
        with self._database.writing() as connection:
            again = update(deliveries).where(deliveries.c.id == number, deliveries.c.is_dead)
            return connection.execute(again.values(is_dead=False, attempts=0, due_s=0.0)).rowcount > 0

    def drop(self, number: int) -> bool:
        """Forgets a dead one; False if there is no such one."""
        with self._database.writing() as connection:
            gone = delete(deliveries).where(deliveries.c.id == number, deliveries.c.is_dead)
            return connection.execute(gone).rowcount > 0


def _dead_letter(row: Row[tuple[object, ...]]) -> DeadLetter:
    return DeadLetter(
        id=row.id, message_id=row.message_id, target=row.target, created_s=row.created_s, attempts=row.attempts,
        error=row.error,
    )
