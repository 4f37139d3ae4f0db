"""JSON requests and answers about incidents and webhooks."""

from __future__ import annotations

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from api.incidents.incident_queries import Decision, FileInfo, Incident, ReviewNote
from api.incidents.kept_data import Erasure
from api.incidents.webhook_outbox import DeadLetter


class ReviewRequest(BaseModel):
    """A review; `by` is the reviewer's name as the caller gives it, stored next to the identity of the caller."""

    model_config = ConfigDict(extra="forbid")

    decision: Decision
    note: str = Field("", max_length=4000, pattern=r"^[^\x00]*$")
    by: str = Field("", max_length=100, pattern=r"^[^\x00]*$")


class IncidentList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of incidents; `next` is the cursor of the next page, or null."""

    incidents: tuple[Incident, ...]
    next: str | None


class FileAnswer(FileInfo, frozen=True, kw_only=True):
    """A file of evidence; `url` fetches it without a key, for some minutes."""

    url: str


class IncidentDetails(Incident, frozen=True, kw_only=True):
    """An incident with its notes, oldest first, and its files of evidence."""

    notes: tuple[ReviewNote, ...]
    evidence: tuple[FileAnswer, ...]


class ErasureAnswer(Erasure, frozen=True, kw_only=True):
    """What was erased: incidents, webhook messages, ended calls. `held` and `running` were not erased."""

    calls: int
    running: tuple[str, ...]


class DeadLetters(msgspec.Struct, frozen=True, kw_only=True):
    """A page of webhook messages that were given up; `next` is the `after` of the next page, or null."""

    dead: tuple[DeadLetter, ...]
    next: int | None
