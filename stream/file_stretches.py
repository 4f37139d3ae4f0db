"""Alarm stretches of a video file: where the live alarm test would raise an alarm, from onset to end. No I/O.

An average over a whole file hides a short swap; the cumulative sum does not. The onset of an alarm is the first sample
after its sum was last zero, the maximum-likelihood estimate of the change point (Page 1954). Its end is the last sample
at which the sum was largest.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from stream.cusum import AlarmBudget, CusumState, EvidenceSample, advance, threshold
from stream.label_decision import FORGET_S

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from stream.config import DecisionConfig
    from stream.cusum import EvidenceModel
    from stream.worker_messages import FileFrame


class AlarmStretch(NamedTuple):
    """Media time in seconds during which one face is in alarm. `end_s` is that of its last sample."""

    track: int
    start_s: float
    end_s: float


def alarm_stretches(
    frames: Sequence[FileFrame], config: DecisionConfig, model: EvidenceModel, fastest_hz: float
) -> tuple[AlarmStretch, ...]:
    """Returns all alarms of all faces, by start. `fastest_hz` is the rate for which live calls set their alarm
    limit."""
    samples: dict[int, list[EvidenceSample]] = defaultdict(list)
    for frame in frames:
        for face in frame.faces:
            if face.llr is not None:
                samples[face.track].append(EvidenceSample(frame.pts_s, face.llr, face.quality.weight))
    limit = threshold(AlarmBudget(config.false_alarms_per_hour, fastest_hz, max(1, len(samples))), model)
    found = (
        AlarmStretch(track, start_s, end_s)
        for track, own in samples.items()
        for start_s, end_s in _alarms(own, model, limit)
    )
    return tuple(sorted(found, key=lambda stretch: (stretch.start_s, stretch.track)))


def _alarms(samples: Sequence[EvidenceSample], model: EvidenceModel, limit: float) -> Iterator[tuple[float, float]]:
    """Returns (onset, end) in seconds for every alarm of one face."""
    sums, onset_s, peak, peak_s = CusumState(), 0.0, 0.0, 0.0
    for sample in samples:
        if sums.alarm and sample.pts_s - sums.pts_s > FORGET_S:
            yield onset_s, peak_s
        if sample.pts_s - sums.pts_s > FORGET_S:
            sums = CusumState()
        after = advance(sums, sample, model, limit)
        if sums.statistic == 0.0:
            onset_s, peak = sample.pts_s, 0.0
        if sums.alarm and not after.alarm:
            yield onset_s, peak_s
        if after.statistic >= peak:
            peak, peak_s = after.statistic, sample.pts_s
        sums = after
    if sums.alarm:
        yield onset_s, peak_s
