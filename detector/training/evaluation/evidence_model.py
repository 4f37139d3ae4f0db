"""Evidence model: statistics of frame LLRs within clips, from which the alarm threshold follows.

Real clips that the network was not trained on are scored at a constant rate, as in a call. Fakes come from
cross-validation over swapped footage.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import av
import numpy as np

from detector.face_crop import crop_face
from detector.types import EvidenceStats

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from detector.protocols import FaceFinder, FaceScorer
    from detector.types import FaceScore

    Floats = NDArray[np.float64]

_REAL_PERCENTILE = 95
_FAKE_PERCENTILE = 10
_LONGEST_LAG = 10
_MIN_FRAMES = 8


class LlrSeries(NamedTuple):
    """LLRs of the largest face of one clip, `interval_s` apart; NaN where it is absent or below 64 px."""

    llr: Floats
    interval_s: float


def score_clip(
    path: Path, rate_hz: float, finder: FaceFinder, scorer: FaceScorer, *, longest_s: float = 60.0
) -> LlrSeries:
    """Scores a clip at `rate_hz` with finder and scorer of the service. Raises FinderFailed, ScorerFailed."""
    llr: list[float] = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        for frame in container.decode(stream):
            if frame.time is None or frame.time > longest_s:
                break
            if frame.time * rate_hz < len(llr):
                continue
            rgb = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
            faces = finder.find(rgb)
            llr.append(_llr(scorer.score([crop_face(rgb, faces[0])])[0]) if faces else math.nan)
    return LlrSeries(np.array(llr), 1 / rate_hz)


def _llr(score: FaceScore) -> float:
    """Returns the LLR, or NaN for a face of weight 0."""
    return score.llr if score.quality.weight > 0 else math.nan


def correlation_time_s(clips: Sequence[LlrSeries]) -> float:
    """Returns the correlation time in seconds of the deviations from each clip's mean, as of an AR(1) series.

    It is the time for which exp(-t / time) has the same integral as the mean autocorrelation up to its first zero.
    """
    is_usable = [clip for clip in clips if np.isfinite(clip.llr).sum() >= _MIN_FRAMES]
    if not is_usable:
        return 0.0
    interval_s = is_usable[0].interval_s
    total = 0.0
    for lag in range(1, _LONGEST_LAG + 1):
        value = _autocorrelation(is_usable, lag)
        if value <= 0:
            break
        total += value
    rho = total / (1 + total)       # an AR(1) series sums to rho / (1 - rho)
    return -interval_s / math.log(rho) if rho > 0 else 0.0


def measure_evidence(real: Sequence[LlrSeries], fake_means: Sequence[float]) -> EvidenceStats:
    """Returns the statistics of real clips and of the mean LLRs of held-out fake clips."""
    means = np.array([np.nanmean(clip.llr) for clip in real if np.isfinite(clip.llr).any()])
    mean_real = float(np.percentile(means, _REAL_PERCENTILE))
    above = [mean for mean in fake_means if mean > mean_real]
    within = np.concatenate([_deviations(clip) for clip in real])
    return EvidenceStats(
        mean_real=mean_real,
        mean_fake=float(np.mean(above)) if above else mean_real,
        sd=float(np.nanstd(within)),
        correlation_s=correlation_time_s(real),
        detectable=len(above) / max(1, len(fake_means)),
        real_middle=float(np.median(means)),
        fake_low=float(np.percentile(fake_means, _FAKE_PERCENTILE)),
    )


def clip_means(llr: Iterable[float], clips: Iterable[str]) -> dict[str, float]:
    """Returns the mean LLR of each clip."""
    sums: dict[str, list[float]] = {}
    for value, clip in zip(llr, clips, strict=True):
        sums.setdefault(clip, []).append(float(value))
    return {clip: float(np.mean(values)) for clip, values in sums.items()}


def _deviations(clip: LlrSeries) -> Floats:
    return np.asarray(clip.llr - np.nanmean(clip.llr)) if np.isfinite(clip.llr).any() else np.zeros(0)


def _autocorrelation(clips: Sequence[LlrSeries], lag: int) -> float:
    products, squares = [], []
    for clip in clips:
        deviations = _deviations(clip)
        products.append(deviations[lag:] * deviations[:-lag])
        squares.append(deviations**2)
    variance = float(np.nanmean(np.concatenate(squares)))
    return float(np.nanmean(np.concatenate(products))) / variance if variance > 0 else 0.0
