"""JSON answers about the history of a call."""

from __future__ import annotations

from typing import Literal

import msgspec

from api.incidents.evidence_files import PicturedFrame
from stream.call_history import TimelineMark
from stream.events import Verdict
from stream.timeline_buckets import TimelineBucket
from stream.types import EndReason


class EndAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Why a stream ended."""

    reason: EndReason
    message: str


class TimelineAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The history of one epoch. `epochs` are those still kept, oldest first; `verdict` is the latest event."""

    stream: str
    epoch: int
    source: str
    started_s: float
    sample: bool
    call_id: str
    participant_id: str
    epochs: tuple[int, ...]
    state: Literal["live", "ended"]
    ended: EndAnswer | None
    verdict: Verdict | None
    buckets: tuple[TimelineBucket, ...]
    marks: tuple[TimelineMark, ...]


class EvidenceFrame(PicturedFrame, frozen=True, kw_only=True):
    """A suspicious sample; `url` fetches its picture without a key, for some minutes."""

    url: str


class EvidenceFrames(msgspec.Struct, frozen=True, kw_only=True):
    """The suspicious samples of one epoch, in order of time."""

    stream: str
    epoch: int
    frames: tuple[EvidenceFrame, ...]
