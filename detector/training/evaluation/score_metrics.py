"""Metrics of frame scores, with bootstrap intervals over groups. Pure.

Labels are 0 (real) and 1 (fake). A clip is one half of one recording, with one face.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from detector.training.evaluation.calibration_fit import group_weights
from detector.training.evaluation.estimates import (
    Estimate,
    auc,
    bootstrap,
    clip_means,
    expected_calibration_error,
    negative_log_likelihood,
    rank_correlation,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]
    Labels = NDArray[np.integer[Any]]
    Groups = NDArray[np.str_]

# Wald's bounds for a false-alarm rate of .01 and a miss rate of .1.
UPPER_NATS, LOWER_NATS = math.log(0.9 / 0.01), math.log(0.1 / 0.99)
_FPR = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class FrameScores:
    """Scores of frames: `llr` is a calibrated LLR or, for baselines, any score; `sharpness` is that of the face."""

    labels: Labels
    llr: Floats
    groups: Groups
    sharpness: Floats

    def take(self, rows: NDArray[Any]) -> FrameScores:
        """Returns the given rows."""
        return FrameScores(self.labels[rows], self.llr[rows], self.groups[rows], self.sharpness[rows])


@dataclass(frozen=True, slots=True)
class ScoreMetrics:
    """Metrics of one scorer; `nats`, `ece` and `abstains` are valid for calibrated scores only.

    `abstains` is the share of clips whose evidence lies between Wald's bounds; `paired` is the share of groups whose
    fake scores higher, None where no group has both labels. `matched_auc` compares frames of similar sharpness.
    """

    rows: int
    groups: int
    frame_auc: Estimate
    clip_auc: Estimate
    equal_error: float
    tpr_at_1: float
    paired: Estimate | None
    nats: float
    ece: float
    abstains: float
    sharpness_rho: float
    matched_auc: float


def compute_metrics(scored: FrameScores, icc: float = 0.0) -> ScoreMetrics | None:
    """Returns the metrics, or None where a label is missing. `icc` is the intraclass correlation within clips."""
    labels, llr, groups = scored.labels, scored.llr, scored.groups
    if len(np.unique(labels)) < 2:
        return None
    clip_labels, means, clip_groups = clip_means(llr, labels, groups)
    weights, reals = group_weights(labels, groups), labels == 0
    return ScoreMetrics(
        rows=len(labels),
        groups=len(np.unique(groups)),
        frame_auc=bootstrap(lambda rows: auc(labels[rows], llr[rows]), groups),
        clip_auc=bootstrap(lambda rows: auc(clip_labels[rows], means[rows]), clip_groups),
        equal_error=equal_error(clip_labels, means),
        tpr_at_1=tpr_at(clip_labels, means),
        paired=_paired(clip_labels, means, clip_groups),
        nats=negative_log_likelihood(labels, llr, weights),
        ece=expected_calibration_error(labels, 1 / (1 + np.exp(-np.clip(llr, -50, 50))), weights),
        abstains=_abstains(scored, icc),
        sharpness_rho=rank_correlation(llr[reals], scored.sharpness[reals]),
        matched_auc=matched_auc(scored),
    )


def equal_error(labels: Labels, scores: Floats) -> float:
    """Returns the equal error rate: the mean of both error rates at the threshold where they are closest."""
    rates = [
        (float(np.mean(scores[labels == 0] >= threshold)), float(np.mean(scores[labels == 1] < threshold)))
        for threshold in np.append(np.unique(scores), np.inf)
    ]
    return min((abs(alarms - misses), (alarms + misses) / 2) for alarms, misses in rates)[1]


def tpr_at(labels: Labels, scores: Floats, fpr: float = _FPR) -> float:
    """Returns the share of fakes above the threshold that at most `fpr` of the reals exceed."""
    reals = np.sort(scores[labels == 0])[::-1]
    threshold = reals[min(math.floor(fpr * len(reals)), len(reals) - 1)]
    return float(np.mean(scores[labels == 1] > threshold))


def _paired(labels: Labels, means: Floats, groups: Groups) -> Estimate | None:
    both = np.intersect1d(groups[labels == 0], groups[labels == 1])
    if not len(both):
        return None
    gaps = np.array([means[(groups == g) & (labels == 1)][0] - means[(groups == g) & (labels == 0)][0] for g in both])
    order = (gaps > 0) + 0.5 * (gaps == 0)
    return bootstrap(lambda rows: float(order[rows].mean()), both)


def _abstains(scored: FrameScores, icc: float) -> float:
    halves = np.char.add(scored.groups.astype(str), np.char.add("|", scored.labels.astype(str)))
    undecided = []
    for half in np.unique(halves):
        llr = scored.llr[halves == half]
        total = llr.mean() * len(llr) / (1 + (len(llr) - 1) * icc)
        undecided.append(LOWER_NATS < total < UPPER_NATS)
    return float(np.mean(undecided))


def intraclass(llr: Floats, clips: Groups) -> float:
    """Returns ICC(1) of scores within clips (Shrout and Fleiss 1979), at least 0."""
    parts = [llr[clips == clip] for clip in np.unique(clips)]
    parts = [part for part in parts if len(part) > 1]
    if len(parts) < 2:
        return 0.0
    size = float(np.mean([len(part) for part in parts]))
    between = size * float(np.var([part.mean() for part in parts], ddof=1))
    within = float(np.mean([part.var(ddof=1) for part in parts]))
    total = between + (size - 1) * within
    return max(0.0, (between - within) / total) if total > 0 else 0.0


def matched_auc(scored: FrameScores, bins: int = 5) -> float:
    """Returns the frame AUC within quantiles of sharpness, weighted by their numbers of pairs."""
    edges = np.quantile(scored.sharpness, np.linspace(0, 1, bins + 1)[1:-1])
    place = np.digitize(scored.sharpness, edges)
    parts = [(place == index, auc(scored.labels[place == index], scored.llr[place == index])) for index in range(bins)]
    known = [
        (int(np.sum(scored.labels[rows] == 1)) * int(np.sum(scored.labels[rows] == 0)), value)
        for rows, value in parts if math.isfinite(value)
    ]
    weight = sum(count for count, _ in known)
    return sum(count * value for count, value in known) / weight if weight else float("nan")
