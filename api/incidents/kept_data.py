"""Kept data: what the database holds about one participant or one call, to export or to erase it.

Blocking; call it from threads only.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec
from sqlalchemy import ColumnElement, delete, or_, select

from api.incidents.database import Database
from api.incidents.tables import deliveries, incidents


class DataSubject(NamedTuple):
    """A participant or a call; exactly one of the two ids is set."""

    participant_id: str = ""
    call_id: str = ""


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """The result of an erasure: deleted incidents and webhook messages, and ids of incidents under a legal hold."""

    incidents: int
    messages: int
    held: tuple[str, ...]


class KeptData:
    """Finds and erases incidents of a data subject. Each method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def incidents_of(self, subject: DataSubject) -> tuple[str, ...]:
        """Returns the ids of all incidents, oldest first."""
        with self._database.reading() as connection:
            found = select(incidents.c.id).where(_is_of(subject)).order_by(incidents.c.opened_s, incidents.c.id)
            return tuple(connection.execute(found).scalars())

    def erase(self, subject: DataSubject) -> Erasure:
        """Deletes incidents with evidence, notes and webhook messages, except those under a legal hold."""
        with self._database.writing() as connection:
            rows = connection.execute(select(incidents.c.id, incidents.c.held).where(_is_of(subject))).all()
            erased = [row.id for row in rows if not row.held]
            messages = 0
            for incident in erased:
                of_incident = or_(*(deliveries.c.message_id == f"{incident}.{kind}" for kind in ("opened", "closed")))
                messages += connection.execute(delete(deliveries).where(of_incident)).rowcount
                connection.execute(delete(incidents).where(incidents.c.id == incident))
        self._database.forget_deleted()
        held = tuple(row.id for row in rows if row.held)
        return Erasure(incidents=len(erased), messages=messages, held=held)


def _is_of(subject: DataSubject) -> ColumnElement[bool]:
    if subject.participant_id:
        return incidents.c.participant_id == subject.participant_id
    return incidents.c.call_id == subject.call_id
