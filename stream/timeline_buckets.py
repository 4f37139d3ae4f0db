"""Timeline buckets: the verdicts of a whole call in bounded memory, coarser with age. No I/O.

Each of the newest verdicts has its own bucket, one step of media time wide. When a tier is full, its oldest aligned
buckets merge into one bucket of the next tier, four times as wide. An hour takes about 500 buckets, a day about 800.
Merging keeps the lowest and highest values; only their exact times are lost.
"""

from __future__ import annotations

import math
from functools import reduce
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from stream.events import Label

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stream.events import Verdict

PER_TIER = 120
FACTOR = 4
_ROUND = 6      # digits of a time in steps: products of settings such as 0.1 are not exact
_GRAVITY = (Label.NO_FACE, Label.REAL, Label.UNCERTAIN, Label.FAKE)


class ValueRange(NamedTuple):
    """Lowest, mean and highest of `number` values."""

    low: float
    mean: float
    high: float
    number: int


class TimelineBucket(msgspec.Struct, frozen=True, kw_only=True):
    """Verdicts whose windows end in (`start_s`, `end_s`] of media time. `verdicts` is their number.

    `label` is the most severe: FAKE before UNCERTAIN, REAL, NO_FACE. `prob_fake` is None if no face could be judged.
    `suspicion` is the highest share of the alarm limit, None without a cumulative sum. `rate_hz` is the lowest sampling
    rate, `faces` the highest number of faces. `face_px` and `quality` (0..1) are those of each verdict's best face.
    `dropped` counts drops since the previous bucket, by cause.
    """

    start_s: float
    end_s: float
    verdicts: int
    label: Label
    alarm: bool
    prob_fake: ValueRange | None
    suspicion: float | None
    coverage: ValueRange
    age_ms: ValueRange
    rate_hz: float
    faces: int
    face_px: ValueRange | None
    quality: ValueRange | None
    dropped: dict[str, int]


class TimelineBuckets:
    """Buckets of one epoch. `step_s` is the width of the finest buckets."""

    def __init__(self, step_s: float) -> None:
        if not step_s > 0:
            raise ValueError(f"step_s: expected a positive number, got {step_s}")
        self._step_s = step_s
        self._tiers: list[dict[int, TimelineBucket]] = [{}]
        self._newest = -1
        self._dropped: Mapping[str, int] = {}

    def add(self, verdict: Verdict) -> None:
        """Adds the next verdict. Ignores repeats, which are not newer than the last."""
        if verdict.sequence <= self._newest:
            return
        self._newest = verdict.sequence
        bucket = _bucket_of(verdict, _increase(verdict.frames.dropped, self._dropped))
        self._dropped = verdict.frames.dropped
        self._put(0, max(0, math.ceil(round(verdict.end_s / self._step_s, _ROUND)) - 1), bucket)

    @property
    def buckets(self) -> tuple[TimelineBucket, ...]:
        """Buckets in order of time, coarsest first."""
        return tuple(bucket for tier in reversed(self._tiers) for bucket in tier.values())

    def _put(self, level: int, cell: int, bucket: TimelineBucket) -> None:
        width_s = self._step_s * FACTOR**level
        placed = msgspec.structs.replace(bucket, start_s=cell * width_s, end_s=(cell + 1) * width_s)
        tier = self._tiers[level]
        tier[cell] = merged(tier[cell], placed) if cell in tier else placed
        if len(tier) > PER_TIER:
            self._coarsen(level)

    def _coarsen(self, level: int) -> None:
        tier = self._tiers[level]
        parent = next(iter(tier)) // FACTOR
        oldest = [tier.pop(cell) for cell in range(parent * FACTOR, (parent + 1) * FACTOR) if cell in tier]
        if level + 1 == len(self._tiers):
            self._tiers.append({})
        self._put(level + 1, parent, reduce(merged, oldest))


def merged(earlier: TimelineBucket, later: TimelineBucket) -> TimelineBucket:
    """Merges two buckets."""
    causes = (*earlier.dropped, *(cause for cause in later.dropped if cause not in earlier.dropped))
    return TimelineBucket(
        start_s=earlier.start_s,
        end_s=later.end_s,
        verdicts=earlier.verdicts + later.verdicts,
        label=max(earlier.label, later.label, key=_GRAVITY.index),
        alarm=earlier.alarm or later.alarm,
        prob_fake=_joined(earlier.prob_fake, later.prob_fake),
        suspicion=max((s for s in (earlier.suspicion, later.suspicion) if s is not None), default=None),
        coverage=joined(earlier.coverage, later.coverage),
        age_ms=joined(earlier.age_ms, later.age_ms),
        rate_hz=min(earlier.rate_hz, later.rate_hz),
        faces=max(earlier.faces, later.faces),
        face_px=_joined(earlier.face_px, later.face_px),
        quality=_joined(earlier.quality, later.quality),
        dropped={cause: earlier.dropped.get(cause, 0) + later.dropped.get(cause, 0) for cause in causes},
    )


def joined(one: ValueRange, other: ValueRange) -> ValueRange:
    """Combines two spreads."""
    number = one.number + other.number
    mean = (one.mean * one.number + other.mean * other.number) / number
    return ValueRange(min(one.low, other.low), mean, max(one.high, other.high), number)


def _joined(one: ValueRange | None, other: ValueRange | None) -> ValueRange | None:
    return joined(one, other) if one is not None and other is not None else one or other


def _bucket_of(verdict: Verdict, dropped: dict[str, int]) -> TimelineBucket:
    best = max((face.quality for face in verdict.faces), key=lambda quality: quality.weight, default=None)
    suspicions = [face.suspicion for face in verdict.faces]
    return TimelineBucket(
        start_s=verdict.start_s,
        end_s=verdict.end_s,
        verdicts=1,
        label=verdict.label,
        alarm=verdict.alarm,
        prob_fake=None if verdict.prob_fake is None else _one(verdict.prob_fake),
        suspicion=None if verdict.decision is None else max(suspicions, default=0.0),
        coverage=_one(verdict.coverage),
        age_ms=_one(verdict.age_ms),
        rate_hz=verdict.rate_hz,
        faces=len(verdict.faces),
        face_px=None if best is None else _one(best.face_px),
        quality=None if best is None else _one(best.weight),
        dropped=dropped,
    )


def _one(value: float) -> ValueRange:
    return ValueRange(value, value, value, 1)


def _increase(now: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    """Returns the increase of each count that has grown, by cause."""
    return {cause: count - before.get(cause, 0) for cause, count in now.items() if count > before.get(cause, 0)}

