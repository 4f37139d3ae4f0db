"""Incident store: writes of the service (open, close, lease, retention). Blocking; call it from threads only."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, Row, delete, insert, select, update

from api.incidents import webhook_outbox
from api.incidents.database import Database
from api.incidents.evidence_cipher import EvidenceCipher
from api.incidents.evidence_files import files_of
from api.incidents.tables import deliveries, files, incidents
from api.incidents.tables import secrets as secrets_table
from stream.events import IncidentClosed, IncidentOpened
from stream.incident_case import AlarmOver, IncidentCase
from stream.types import CloseReason

LEASE_S = 90.0          # an open incident without a lease renewal for this long counts as interrupted
_URL_KEY = "evidence-urls"


class IncidentStore:
    """Writes incidents. Each event is queued for the webhook `targets` in the same transaction."""

    def __init__(
        self, database: Database, targets: Sequence[str] = (), cipher: EvidenceCipher | None = None
    ) -> None:
        self._database = database
        self._cipher = cipher or EvidenceCipher()
        self._targets = tuple(targets)
        self.owner = secrets.token_hex(8)

    def save(self, case: IncidentCase) -> IncidentOpened | None:
        """Stores an alarm with its evidence in one transaction. Returns None if it is already stored."""
        evidence = files_of(case)
        opened = _opened(case)
        with self._database.writing() as connection:
            if connection.execute(select(incidents.c.id).where(incidents.c.id == case.id)).first() is not None:
                return None
            connection.execute(insert(incidents), _row_of(opened, self.owner))
            connection.execute(insert(files), [
                {
                    "incident_id": case.id, "name": file.name, "media_type": file.media_type, "sha256": file.sha256,
                    "size_bytes": len(file.content),
                    "content": self._cipher.seal(case.id, file.name, file.content),
                }
                for file in evidence
            ])
            webhook_outbox.enqueue(connection, opened, self._targets, case.opened_s)
        return opened

    def close(self, over: AlarmOver) -> tuple[IncidentClosed, ...]:
        """Closes the open incident of this stream and epoch; returns nothing if the alarm was not stored."""
        with self._database.writing() as connection:
            rows = connection.execute(
                select(incidents).where(
                    incidents.c.stream == _storable(over.stream),
                    incidents.c.epoch == over.epoch,
                    incidents.c.closed_s.is_(None),
                )
            ).all()
            return tuple(
                self._close(connection, row, over.reason, closed_s=over.closed_s, pts_s=over.end_s) for row in rows
            )

    def renew_leases(self, now_s: float) -> None:
        """Renews the leases of this process's open incidents."""
        with self._database.writing() as connection:
            connection.execute(
                update(incidents)
                .where(incidents.c.owner == self.owner, incidents.c.closed_s.is_(None))
                .values(seen_s=now_s)
            )

    def close_abandoned(self, now_s: float) -> tuple[IncidentClosed, ...]:
        """Closes open incidents whose lease expired, because their process died."""
        with self._database.writing() as connection:
            rows = connection.execute(
                select(incidents).where(incidents.c.closed_s.is_(None), incidents.c.seen_s < now_s - LEASE_S)
            ).all()
            why = CloseReason.INTERRUPTED
            return tuple(
                self._close(connection, row, why, closed_s=max(row.seen_s, row.opened_s), pts_s=row.pts_s)
                for row in rows
            )

    def delete_before(self, before_s: float) -> int:
        """Deletes closed incidents opened before `before_s` without a legal hold, and dead webhook messages.

        Returns the number of incidents.
        """
        with self._database.writing() as connection:
            connection.execute(delete(deliveries).where(deliveries.c.is_dead, deliveries.c.created_s < before_s))
            deleted = connection.execute(
                delete(incidents).where(
                    incidents.c.opened_s < before_s, incidents.c.closed_s.is_not(None), incidents.c.held.is_(False)
                )
            )
            count = deleted.rowcount
        if count:
            self._database.forget_deleted()
        return count

    def url_key(self) -> bytes:
        """Returns the key that signs evidence URLs. Created once; shared by all processes on this database."""
        with self._database.writing() as connection:
            found = connection.execute(
                select(secrets_table.c.content).where(secrets_table.c.name == _URL_KEY)
            ).scalar()
            if found is not None:
                return bytes(found)
            key = secrets.token_bytes(32)
            connection.execute(insert(secrets_table), {"name": _URL_KEY, "content": key})
            return key

    def _close(
        self,
        connection: Connection,
        row: Row[tuple[object, ...]],
        reason: CloseReason,
        *,
        closed_s: float,
        pts_s: float,
    ) -> IncidentClosed:
        connection.execute(
            update(incidents)
            .where(incidents.c.id == row.id)
            .values(closed_s=closed_s, closed_pts_s=pts_s, close_reason=reason.value)
        )
        closed = IncidentClosed(
            id=row.id, stream=row.stream, epoch=row.epoch, reason=reason, opened_s=row.opened_s, closed_s=closed_s,
            pts_s=pts_s,
        )
        webhook_outbox.enqueue(connection, closed, self._targets, closed_s)
        return closed


def _opened(case: IncidentCase) -> IncidentOpened:
    origin, verdict = case.origin, case.verdict
    worst = next((face for face in verdict.faces if face.alarm), None)
    return IncidentOpened(
        id=case.id, stream=origin.stream, epoch=origin.epoch, verdict=verdict.id, opened_s=case.opened_s,
        pts_s=verdict.end_s, tracks=case.tracks, prob_fake=worst.prob_fake if worst is not None else None,
        suspicion=worst.suspicion if worst is not None else 0.0, model=case.model, rules_sha256=case.rules.sha256,
        source=origin.source, sample=origin.sample, call_id=origin.call_id, participant_id=origin.participant_id,
    )


def _row_of(opened: IncidentOpened, owner: str) -> dict[str, object]:
    row: dict[str, object] = msgspec.to_builtins(opened)
    row = {name: value for name, value in row.items() if name not in ("type", "v")}
    row = {name: _storable(value) if isinstance(value, str) else value for name, value in row.items()}
    return {**row, "tracks": list(opened.tracks), "review": "open", "owner": owner, "seen_s": opened.opened_s}


def _storable(text: str) -> str:
    """Replaces NUL, which PostgreSQL does not store in text. Headers of Kafka records may hold one."""
    return text.replace("\0", "\ufffd")
