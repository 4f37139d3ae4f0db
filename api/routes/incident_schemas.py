"""The shapes of requests and answers about incidents, for `/docs` and for the tests that hold answers against them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from api.routes.schemas import Model


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class ReviewRequest(_Shape):
    """`by` is the reviewer's name as the caller gives it; who called is written down beside it."""

    decision: Literal["confirm", "dismiss", "reopen", "note"]
    note: str = Field("", max_length=4000)
    by: str = Field("", max_length=100)


class IncidentAnswer(_Shape):
    """Times ending in `pts_s` are media time, the others Unix time."""

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
    close_reason: Literal["alarm_over", "stream_ended", "interrupted"] | None
    tracks: list[int]
    prob_fake: float | None
    suspicion: float
    model: Model | None
    rules_sha256: str
    review: Literal["open", "confirmed", "dismissed"]
    reviewed_by: str | None
    reviewed_s: float | None


class IncidentList(_Shape):
    """`next` is the cursor of what follows, or null."""

    incidents: list[IncidentAnswer]
    next: str | None


class NoteAnswer(_Shape):
    """What somebody decided or wrote."""

    at_s: float
    by: str
    decision: Literal["confirm", "dismiss", "reopen", "note"]
    text: str


class FileAnswer(_Shape):
    """`url` needs no key and is good for some minutes."""

    name: str
    media_type: str
    sha256: str
    size_bytes: int
    url: str


class IncidentDetails(IncidentAnswer):
    """An incident with its notes, oldest first, and the files of its evidence."""

    notes: list[NoteAnswer]
    evidence: list[FileAnswer]


class DeadLetterAnswer(_Shape):
    """A webhook message that was given up."""

    id: int
    message_id: str
    target: str
    created_s: float
    attempts: int
    error: str


class DeadLetters(_Shape):
    """`next` is where the list goes on (`after`), or null."""

    dead: list[DeadLetterAnswer]
    next: int | None
