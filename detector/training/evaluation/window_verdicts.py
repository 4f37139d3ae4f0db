"""Window verdicts: verdict rules applied to every ten seconds of a face, and shares of the verdicts. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.training.evaluation.estimates import bootstrap

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

Floats = NDArray[np.float64]
# From media times (s), LLRs (nats) and weights (0..1) of the samples of one face, in order, to FAKE, REAL or UNCERTAIN.
Rule = Callable[[Floats, Floats, Floats], str]

FAKE, REAL, UNCERTAIN = "FAKE", "REAL", "UNCERTAIN"
WINDOW_S = 10.0
ALL = "all conditions"
_LABELS = ((0, "real"), (1, "fake"))
_SIZES_PX = (0.0, 64.0, 96.0, 128.0, 176.0, math.inf)
# Grid times are sums of fractions, which are not exact.
_SLACK = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class EvidenceTrack:
    """Samples of one face: four arrays of equal length in order of time, and the duration `length_s` of the media.

    A frame without the face has no sample.
    """

    times_s: Floats
    llr: Floats
    weights: Floats
    face_px: Floats
    length_s: float

    def between(self, start_s: float, end_s: float) -> EvidenceTrack:
        """Returns the samples in [start_s, end_s), with unchanged times."""
        inside = (self.times_s >= start_s - _SLACK) & (self.times_s < end_s - _SLACK)
        return EvidenceTrack(
            times_s=self.times_s[inside],
            llr=self.llr[inside],
            weights=self.weights[inside],
            face_px=self.face_px[inside],
            length_s=end_s - start_s,
        )


def constant_track(llr: float, rate_hz: float, length_s: float = WINDOW_S) -> EvidenceTrack:
    """Returns the track of a large face with a constant LLR."""
    times_s = np.arange(round(length_s * rate_hz)) / rate_hz
    same = np.ones(len(times_s))
    return EvidenceTrack(times_s, llr * same, same, _SIZES_PX[-2] * same, length_s)


class TrackSource(NamedTuple):
    """Origin of a track; `label` is 0 (real) or 1 (fake)."""

    label: int
    group: str
    clip: str
    condition: str


class WindowVerdict(NamedTuple):
    """Verdict of a rule on one window or, if `is_whole`, on the whole track; `face_px` is the median.

    `is_usable` is true if any sample has weight; otherwise the verdict counts in no error rate.
    """

    source: TrackSource
    rule: str
    face_px: float
    verdict: str
    is_whole: bool = False
    is_usable: bool = True


def split_windows(track: EvidenceTrack, window_s: float = WINDOW_S) -> list[EvidenceTrack]:
    """Returns the complete windows of a track that hold a sample; the rest after the last one is left out.

    A track shorter than a window is one window.
    """
    count = math.floor(track.length_s / window_s + _SLACK)
    edges = [index * window_s for index in range(count + 1)] if count else [0.0, track.length_s]
    parts = (track.between(start_s, end_s) for start_s, end_s in pairwise(edges))
    return [part for part in parts if len(part.times_s)]


def judge_windows(track: EvidenceTrack, source: TrackSource, rules: Mapping[str, Rule]) -> Iterator[WindowVerdict]:
    """Yields the verdict of every rule on every window and on the whole track; none for a track without samples."""
    wholes = [track] if len(track.times_s) else []
    for part in (*split_windows(track), *wholes):
        face_px, is_usable = float(np.median(part.face_px)), bool(part.weights.any())
        for name, rule in rules.items():
            yield WindowVerdict(source, name, face_px, apply_rule(rule, part), part is track, is_usable)


def apply_rule(rule: Rule, track: EvidenceTrack) -> str:
    """Returns the verdict of the rule on all samples of the track."""
    return rule(track.times_s, track.llr, track.weights)


def by_condition(verdicts: Iterable[WindowVerdict]) -> dict[str, dict[str, Any]]:
    """Returns, for every condition and for all together, the `shares` of `real` and `fake` tracks.

    Only usable windows count: faces without weight would make false alarms look rarer.
    """
    rows = [row for row in verdicts if row.is_usable]
    names = dict.fromkeys(row.source.condition for row in rows)
    parts = {name: [row for row in rows if row.source.condition == name] for name in names}
    together = {ALL: rows} if len(parts) > 1 else {}
    return {name: _by_label(part) for name, part in {**together, **parts}.items()}


def _by_label(verdicts: Sequence[WindowVerdict]) -> dict[str, dict[str, Any] | None]:
    return {word: shares([row for row in verdicts if row.source.label == label]) for label, word in _LABELS}


def shares(verdicts: Sequence[WindowVerdict]) -> dict[str, Any] | None:
    """Returns the shares of windows with the verdicts FAKE (with a 95 % interval over groups), UNCERTAIN and REAL.

    `fake_at_most` is the upper end of the interval; where no window is FAKE, the rule of three with clips as units.
    `alarmed` counts the `tracks` that are FAKE as a whole. None without windows.
    """
    windows = [row for row in verdicts if not row.is_whole]
    if not windows:
        return None
    fakes = np.array([row.verdict == FAKE for row in windows])
    estimate = bootstrap(lambda rows: float(fakes[rows].mean()), np.array([row.source.group for row in windows]))
    clips = len({row.source.clip for row in windows})
    wholes = [row for row in verdicts if row.is_whole]
    return {
        "windows": len(windows),
        "clips": clips,
        "fake": asdict(estimate),
        "fake_at_most": estimate.high if fakes.any() else min(1.0, 3 / clips),
        "uncertain": _share(windows, UNCERTAIN),
        "real": _share(windows, REAL),
        "tracks": len(wholes),
        "alarmed": sum(row.verdict == FAKE for row in wholes),
    }


def _share(windows: Sequence[WindowVerdict], word: str) -> float:
    return sum(row.verdict == word for row in windows) / len(windows)


def by_size(verdicts: Iterable[WindowVerdict]) -> dict[str, dict[str, float]]:
    """Returns, for every size of the face, the shares of right, wrong and UNCERTAIN windows, usable or not."""
    windows = [row for row in verdicts if not row.is_whole]
    found = {}
    for low, high in pairwise(_SIZES_PX):
        inside = [row for row in windows if low <= row.face_px < high]
        if inside:
            found[_size(low, high)] = _verdicts(inside)
    return found


def _verdicts(windows: Sequence[WindowVerdict]) -> dict[str, float]:
    truths = [(row.verdict, (REAL, FAKE)[row.source.label]) for row in windows]
    decided = [(verdict, truth) for verdict, truth in truths if verdict != UNCERTAIN]
    right = sum(verdict == truth for verdict, truth in decided)
    return {
        "windows": len(windows),
        "clips": len({row.source.clip for row in windows}),
        "right": right / len(windows),
        "wrong": (len(decided) - right) / len(windows),
        "uncertain": 1 - len(decided) / len(windows),
        "reals_called_fake": sum(verdict == FAKE != truth for verdict, truth in decided),
        "fakes_called_real": sum(verdict == REAL != truth for verdict, truth in decided),
    }


def _size(low: float, high: float) -> str:
    if not low:
        return f"under {high:.0f} px"
    return f"from {low:.0f} px" if math.isinf(high) else f"{low:.0f} to {high:.0f} px"
