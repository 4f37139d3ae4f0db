"""Incident case: an alarm and all evidence needed to derive it again. No I/O.

An `IncidentCase` holds the samples since a verdict at least a minute old (`base`), or since the epoch began. From there
`stream.incident_replay` derives the same verdict.
"""

from __future__ import annotations

import hashlib

import msgspec

from stream.config import DecisionConfig, WindowConfig
from stream.cusum import EvidenceModel
from stream.events import Verdict
from stream.types import CloseReason, ModelRef, Observation


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """Rules that the decision depends on besides the samples."""

    windows: WindowConfig
    decision: DecisionConfig
    evidence: EvidenceModel

    @property
    def sha256(self) -> str:
        """Hex digest of the rules in canonical form."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Identity and source of the stream that an incident belongs to."""

    stream: str
    epoch: int
    source: str
    sample: bool = False
    call_id: str = ""
    participant_id: str = ""


class IncidentCase(msgspec.Struct, frozen=True, kw_only=True):
    """An alarm with its evidence. `verdict` opened it; `opened_s` is Unix time.

    `samples` are in order and without pictures; `pictured` are the samples that were kept with pictures.
    """

    origin: Origin
    opened_s: float
    verdict: Verdict
    base: Verdict | None
    rules: Rules
    samples: tuple[Observation, ...]
    pictured: tuple[Observation, ...]

    @property
    def id(self) -> str:
        return incident_id(self.verdict)

    @property
    def model(self) -> ModelRef | None:
        return self.verdict.model

    @property
    def tracks(self) -> tuple[int, ...]:
        """Faces whose alarm is open, most suspicious first."""
        return tuple(face.track for face in self.verdict.faces if face.alarm)


class AlarmOver(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a stream's alarm; `closed_s` is Unix time, `end_s` media time."""

    stream: str
    epoch: int
    reason: CloseReason
    closed_s: float
    end_s: float


AlarmChange = IncidentCase | AlarmOver


def incident_id(verdict: Verdict) -> str:
    """Returns the id of the incident that this verdict opens. It depends on the verdict alone."""
    return "inc_" + hashlib.blake2b(verdict.id.encode(), digest_size=12).hexdigest()


def is_alarming(verdict: Verdict) -> bool:
    """Whether a face's alarm is open, even if the current window has too little evidence for a label."""
    tracks = verdict.decision.tracks if verdict.decision is not None else ()
    return verdict.alarm or any(track.alarm for track in tracks)
