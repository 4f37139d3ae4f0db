"""An alarm and everything it stands on, so that anyone can look at it and judge it again. Pure.

A `IncidentCase` holds the samples since a verdict that is at least a minute old (`base`), or since the beginning:
from there
the same logic comes to the same verdict (`stream.incident_replay`).
"""

from __future__ import annotations

import hashlib

import msgspec

from stream.config import DecisionConfig, WindowConfig
from stream.cusum import EvidenceModel
from stream.events import Verdict
from stream.types import CloseReason, ModelRef, Observation


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What the decision follows from besides the samples."""

    windows: WindowConfig
    decision: DecisionConfig
    evidence: EvidenceModel

    @property
    def sha256(self) -> str:
        """Hex digest of the rules in their one canonical form."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Whose stream it is."""

    stream: str
    epoch: int
    source: str
    sample: bool = False
    call_id: str = ""
    participant_id: str = ""


class IncidentCase(msgspec.Struct, frozen=True, kw_only=True):
    """An alarm with its evidence. `verdict` opened it; `opened_s` is Unix time.

    `samples` are in order and without pictures; `pictured` are those of them that were kept as pictures.
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
        """The faces whose alarm is open, most suspicious first."""
        return tuple(face.track for face in self.verdict.faces if face.alarm)


class AlarmOver(msgspec.Struct, frozen=True, kw_only=True):
    """The alarm of this stream is over; `closed_s` is Unix time, `end_s` media time."""

    stream: str
    epoch: int
    reason: CloseReason
    closed_s: float
    end_s: float


AlarmChange = IncidentCase | AlarmOver


def incident_id(verdict: Verdict) -> str:
    """The id of the incident that this verdict opened: the same for the same verdict, wherever it was made."""
    return "inc_" + hashlib.blake2b(verdict.id.encode(), digest_size=12).hexdigest()


def is_alarming(verdict: Verdict) -> bool:
    """Whether a face's alarm is open, even if too little can be seen just now to say so."""
    tracks = verdict.decision.tracks if verdict.decision is not None else ()
    return verdict.alarm or any(track.alarm for track in tracks)
