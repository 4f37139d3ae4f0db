"""Statistics of a run, from sent frames and received verdicts. No I/O.

A call's sampling is its scored samples divided by the samples of the full rate over the measured time. A service that
reduces its sampling rate under load therefore scores lower.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from api.bench.options import AGE_BAR_MS, RATE_HZ, SAMPLING_BAR

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from api.bench.publisher_messages import CallSent
    from api.bench.verdict_recorder import VerdictArrival
    from stream.types import FrameCounts


class Percentiles(NamedTuple):
    """Percentiles of ages in ms; NaN without values."""

    p50: float
    p95: float
    p99: float


class Interval(NamedTuple):
    """A half-open interval of monotonic seconds."""

    from_s: float
    to_s: float

    @property
    def seconds(self) -> float:
        return self.to_s - self.from_s

    def holds(self, at_s: float) -> bool:
        return self.from_s <= at_s < self.to_s


@dataclass(frozen=True, slots=True)
class CallStatistics:
    """Counts of one call in the measured time. `sampling` is its share of the expected samples."""

    stream: str
    sampling: float
    scored: int
    frames: int
    drops: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class RunStatistics:
    """Statistics of all calls of one run.

    `age_ms`: verdict age as published. `sent_to_read_ms`: from sending the newest frame of a verdict to reading it.
    """

    age_ms: Percentiles
    sent_to_read_ms: Percentiles
    worst_call_p95_ms: float
    verdicts: int
    calls: tuple[CallStatistics, ...]
    seconds: float

    @property
    def wanted_per_s(self) -> float:
        return RATE_HZ * len(self.calls)

    @property
    def got_per_s(self) -> float:
        return sum(call.scored for call in self.calls) / self.seconds

    @property
    def sampling(self) -> float:
        return min(1.0, self.got_per_s / self.wanted_per_s)

    @property
    def sampling_min(self) -> float:
        return min(call.sampling for call in self.calls)

    @property
    def frames_per_s(self) -> float:
        return sum(call.frames for call in self.calls) / self.seconds

    @property
    def drops(self) -> dict[str, int]:
        total: Counter[str] = Counter()
        for call in self.calls:
            total.update(call.drops)
        return dict(total)

    @property
    def sustained(self) -> bool:
        """Whether every call meets the limits on verdict age and sampling."""
        return self.age_ms.p95 <= AGE_BAR_MS and self.sampling_min >= SAMPLING_BAR


def run_statistics(
    streams: Sequence[str], arrivals: Mapping[str, Sequence[VerdictArrival]], sent: Mapping[str, CallSent],
    interval: Interval,
) -> RunStatistics:
    """Computes the statistics from `arrivals` and `sent` by stream. A stream without arrivals has sampling 0."""
    inside = {s: [a for a in arrivals.get(s, ()) if interval.holds(a.at_s)] for s in streams}
    ages = {s: [a.age_ms for a in found] for s, found in inside.items()}
    latencies = [ms for s in streams if s in sent for ms in _sent_to_read_ms(inside[s], sent[s].sent_s)]
    every = [ms for found in ages.values() for ms in found]
    return RunStatistics(
        age_ms=percentiles(every),
        sent_to_read_ms=percentiles(latencies),
        worst_call_p95_ms=max((percentile(found, 0.95) for found in ages.values() if found), default=math.nan),
        verdicts=len(every),
        calls=tuple(_call(s, arrivals.get(s, ()), interval) for s in streams),
        seconds=interval.seconds,
    )


def percentiles(values: Sequence[float]) -> Percentiles:
    return Percentiles(*(percentile(values, share) for share in (0.5, 0.95, 0.99)))


def percentile(values: Iterable[float], share: float) -> float:
    """Returns the smallest value that at least this share of the values does not exceed; NaN without values."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


def _call(stream: str, arrivals: Sequence[VerdictArrival], interval: Interval) -> CallStatistics:
    before = _last_before(arrivals, interval.from_s)
    after = _last_before(arrivals, interval.to_s)
    if before is None or after is None:
        return CallStatistics(stream, 0.0, 0, 0, {})
    scored = after.scored - before.scored
    drops = Counter(after.dropped)
    drops.subtract(before.dropped)
    share = scored / (RATE_HZ * interval.seconds)
    return CallStatistics(stream, min(1.0, share), scored, after.decoded - before.decoded, dict(+drops))


def _last_before(arrivals: Sequence[VerdictArrival], at_s: float) -> FrameCounts | None:
    return next((a.frames for a in reversed(arrivals) if a.at_s < at_s), None)


def _sent_to_read_ms(arrivals: Sequence[VerdictArrival], sent_s: Sequence[float]) -> list[float]:
    known = [(a.at_s, a.newest_frame) for a in arrivals if a.newest_frame is not None]
    return [(at_s - sent_s[frame]) * 1000 for at_s, frame in known if frame < len(sent_s)]
