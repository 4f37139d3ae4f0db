"""Incident queries: list, details, review, files, deletion. Blocking; call it from threads only."""

from __future__ import annotations

import base64
import binascii
import math
import time
from typing import Any, Literal, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, and_, delete, insert, or_, select, update

from api.errors import OnHold, Unprocessable
from api.incidents.database import Database
from api.incidents.evidence_cipher import EvidenceCipher
from api.incidents.tables import files, incidents, notes
from stream.types import CloseReason, ModelRef

Review = Literal["open", "confirmed", "dismissed"]
Decision = Literal["confirm", "dismiss", "reopen", "note", "hold", "release"]

_REVIEWS: dict[Decision, Review] = {"confirm": "confirmed", "dismiss": "dismissed", "reopen": "open"}
_HOLDS: dict[Decision, bool] = {"hold": True, "release": False}


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the incident list. Times are Unix seconds; `pts_s` and `closed_pts_s` are media seconds."""

    id: str
    stream: str
    epoch: int
    verdict: str
    source: str
    sample: bool
    call_id: str
    participant_id: str
    opened_s: float
    pts_s: float
    closed_s: float | None
    closed_pts_s: float | None
    close_reason: CloseReason | None
    tracks: tuple[int, ...]
    prob_fake: float | None
    suspicion: float
    model: ModelRef | None
    rules_sha256: str
    review: Review
    reviewed_by: str | None
    reviewed_s: float | None
    held: bool


class ReviewNote(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a review. Notes are never changed, so that a review can be audited."""

    at_s: float
    by: str
    decision: Decision
    text: str


class FileInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Metadata of one evidence file."""

    name: str
    media_type: str
    sha256: str
    size_bytes: int


class Details(NamedTuple):
    """An incident with its notes and files, without file contents."""

    incident: Incident
    notes: tuple[ReviewNote, ...]
    files: tuple[FileInfo, ...]


class PagePosition(NamedTuple):
    """Position in the incident list: the page starts after the incident with this time and id."""

    opened_s: float
    id: str


class IncidentQuery(NamedTuple):
    """A page of incidents, newest first. A filter that is None matches all incidents.

    `text` occurs in the id, stream, call or participant, in any case.
    """

    limit: int
    after: PagePosition | None = None
    is_open: bool | None = None
    review: str | None = None
    stream: str | None = None
    call_id: str | None = None
    participant_id: str | None = None
    text: str | None = None
    since_s: float | None = None
    until_s: float | None = None


class IncidentQueries:
    """Reads and reviews incidents. Each method is one transaction."""

    def __init__(self, database: Database, cipher: EvidenceCipher | None = None) -> None:
        self._database = database
        self._cipher = cipher or EvidenceCipher()

    def list(self, query: IncidentQuery) -> tuple[Incident, ...]:
        with self._database.reading() as connection:
            rows = connection.execute(
                select(incidents)
                .where(*_conditions(query))
                .order_by(incidents.c.opened_s.desc(), incidents.c.id.desc())
                .limit(query.limit)
            )
            return tuple(_incident(row) for row in rows)

    def get(self, incident: str) -> Details | None:
        with self._database.reading() as connection:
            return _details(connection, incident)

    def review(self, incident: str, note: ReviewNote) -> Details | None:
        """Adds a note and applies its decision. Returns None for an unknown incident."""
        with self._database.writing() as connection:
            if connection.execute(select(incidents.c.id).where(incidents.c.id == incident)).first() is None:
                return None
            connection.execute(insert(notes), {"incident_id": incident, **msgspec.structs.asdict(note)})
            if note.decision in _REVIEWS:
                connection.execute(
                    update(incidents)
                    .where(incidents.c.id == incident)
                    .values(review=_REVIEWS[note.decision], reviewed_by=note.by, reviewed_s=note.at_s)
                )
            if note.decision in _HOLDS:
                held = update(incidents).where(incidents.c.id == incident).values(held=_HOLDS[note.decision])
                connection.execute(held)
            return _details(connection, incident)

    def content(self, incident: str, name: str) -> tuple[FileInfo, bytes] | None:
        """Returns one evidence file, or None. Raises EvidenceLocked."""
        with self._database.reading() as connection:
            row = connection.execute(
                select(files).where(files.c.incident_id == incident, files.c.name == name)
            ).first()
            return None if row is None else (_file(row), self._cipher.unseal(incident, name, bytes(row.content)))

    def contents(self, incident: str) -> dict[str, bytes]:
        """Returns the contents of all files by name. Raises EvidenceLocked."""
        with self._database.reading() as connection:
            rows = connection.execute(select(files.c.name, files.c.content).where(files.c.incident_id == incident))
            return {row.name: self._cipher.unseal(incident, row.name, bytes(row.content)) for row in rows}

    def delete(self, incident: str) -> bool:
        """Deletes an incident with its evidence and notes. Returns False for an unknown one. Raises OnHold."""
        with self._database.writing() as connection:
            unheld = (incidents.c.id == incident, incidents.c.held.is_(False))
            is_deleted = connection.execute(delete(incidents).where(*unheld)).rowcount > 0
            known = connection.execute(select(incidents.c.id).where(incidents.c.id == incident)).first()
        if known is not None:
            raise OnHold
        if is_deleted:
            self._database.forget_deleted()
        return is_deleted


def encode_cursor(position: PagePosition) -> str:
    """Returns the opaque text that stands for a position in `GET /v1/incidents`."""
    return base64.urlsafe_b64encode(f"{position.opened_s!r} {position.id}".encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> PagePosition:
    """Decodes a cursor. Raises Unprocessable for an invalid one."""
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        opened, _, incident = text.partition(" ")
        opened_s = float(opened)
    except (binascii.Error, ValueError):
        raise Unprocessable("bad_cursor", "cursor: expected the `next` value of an earlier page") from None
    if not math.isfinite(opened_s) or not incident or "\0" in incident:
        raise Unprocessable("bad_cursor", "cursor: expected the `next` value of an earlier page")
    return PagePosition(opened_s, incident)


def note_of(by: str, decision: Decision, text: str) -> ReviewNote:
    """Returns a note with the current time."""
    return ReviewNote(at_s=time.time(), by=by, decision=decision, text=text)


def _conditions(query: IncidentQuery) -> list[ColumnElement[bool]]:
    columns = incidents.c
    equal = {
        columns.review: query.review, columns.stream: query.stream, columns.call_id: query.call_id,
        columns.participant_id: query.participant_id,
    }  # fmt: skip
    found = [column == value for column, value in equal.items() if value is not None]
    if query.is_open is not None:
        found.append(columns.closed_s.is_(None) if query.is_open else columns.closed_s.is_not(None))
    if query.text is not None:
        named = (columns.id, columns.stream, columns.call_id, columns.participant_id)
        found.append(or_(*(column.icontains(query.text, autoescape=True) for column in named)))
    if query.since_s is not None:
        found.append(columns.opened_s >= query.since_s)
    if query.until_s is not None:
        found.append(columns.opened_s < query.until_s)
    if query.after is not None:
        at_s, name = query.after
        found.append(or_(columns.opened_s < at_s, and_(columns.opened_s == at_s, columns.id < name)))
    return found


def _details(connection: Connection, incident: str) -> Details | None:
    row = connection.execute(select(incidents).where(incidents.c.id == incident)).first()
    if row is None:
        return None
    rows = connection.execute(select(notes).where(notes.c.incident_id == incident).order_by(notes.c.id))
    listed = [column for column in files.c if column.name != "content"]
    evidence = connection.execute(select(*listed).where(files.c.incident_id == incident).order_by(files.c.name))
    return Details(
        _incident(row),
        tuple(ReviewNote(at_s=n.at_s, by=n.by, decision=n.decision, text=n.text) for n in rows),
        tuple(_file(f) for f in evidence),
    )


def _incident(row: Row[Any]) -> Incident:
    values = {name: getattr(row, name) for name in Incident.__struct_fields__}
    return msgspec.convert(values, Incident)


def _file(row: Row[Any]) -> FileInfo:
    return FileInfo(name=row.name, media_type=row.media_type, sha256=row.sha256, size_bytes=row.size_bytes)
