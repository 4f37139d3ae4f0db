"""The shapes of answers about a call's past, for `/docs` and for the tests that hold answers against them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


Spread = tuple[float, float, float, int]


class BucketAnswer(_Shape):
    """Verdicts of (`start_s`, `end_s`], media time; a spread is lowest, mean, highest and how many."""

    start_s: float
    end_s: float
    verdicts: int
    label: Literal["REAL", "FAKE", "UNCERTAIN", "NO_FACE"]
    alarm: bool
    prob_fake: Spread | None
    suspicion: float | None
    coverage: Spread
    age_ms: Spread
    rate_hz: float
    faces: int
    face_px: Spread | None
    quality: Spread | None
    dropped: dict[str, int]


class MarkAnswer(_Shape):
    """Something that happened at `at_s` of media time."""

    kind: Literal["alarm_opened", "alarm_closed", "gap", "stalled"]
    at_s: float
    incident: str
    why: str


class EndAnswer(_Shape):
    """Why a stream is over."""

    reason: str
    message: str


class TimelineAnswer(_Shape):
    """`epochs` are those that are remembered, oldest first; `verdict` is the latest event, as on the feed."""

    stream: str
    epoch: int
    epochs: list[int]
    source: str
    sample: bool
    call_id: str
    participant_id: str
    started_s: float
    state: Literal["live", "ended"]
    ended: EndAnswer | None
    verdict: dict[str, Any] | None
    buckets: list[BucketAnswer]
    marks: list[MarkAnswer]


class EvidenceFaceAnswer(_Shape):
    """One suspicious face; `heat_map` is 7 x 7 row-major, 0..255, `spectrum` 32 bands or empty."""

    track: int
    box: tuple[float, float, float, float]
    logit: float | None
    llr: float | None
    prob_fake: float | None
    frequency_score: float | None
    crop: str | None
    heat: str | None
    heat_map: list[int]
    spectrum: list[float]


class EvidenceFrame(_Shape):
    """One sample as a picture; `url` needs no key and is good for some minutes."""

    sequence: int
    cell: int
    pts_s: float
    frame: str
    url: str
    faces: list[EvidenceFaceAnswer]


class EvidenceFrames(_Shape):
    """The pictures of one epoch, in the order of time."""

    stream: str
    epoch: int
    frames: list[EvidenceFrame]


class SpectrumAnswer(_Shape):
    """Percentiles 5, 50 and 95 of 32 bands (natural log of power, 0 to 0.5 cycles per pixel) over `faces` faces."""

    faces: int
    source: str
    low: list[float]
    middle: list[float]
    high: list[float]
