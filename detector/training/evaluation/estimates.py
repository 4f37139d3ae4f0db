"""Estimates: AUC per frame and clip, calibration error, folds, and bootstrap intervals over groups. Pure.

Labels are 0 (real) and 1 (fake); larger scores mean fake. Every result is reported beside an untrained network and
sharpness alone, since on paired clips neither is at chance.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import rankdata

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]
    Labels = NDArray[np.integer[Any]]
    Groups = NDArray[np.str_]

BOOTSTRAPS = 1000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % bootstrap interval over groups."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True, slots=True)
class PairReport:
    """Figures of one scorer on paired clips.

    `paired` is the share of clips whose fake half scores higher on average; `sharpness_rho` the rank correlation of
    score and sharpness over the real frames.
    """

    name: str
    frame_auc: Estimate
    clip_auc: Estimate
    paired: Estimate
    sharpness_rho: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def auc(labels: Labels, scores: Floats) -> float:
    """Returns the area under the ROC curve (Mann-Whitney), ties counted half; NaN with one class only."""
    fakes = int(np.sum(labels == 1))
    reals = len(labels) - fakes
    if not fakes or not reals:
        return float("nan")
    ranks = rankdata(scores)
    return float((ranks[labels == 1].sum() - fakes * (fakes + 1) / 2) / (fakes * reals))


def rank_correlation(one: Floats, other: Floats) -> float:
    """Returns Spearman's rank correlation; 0 where either is constant."""
    ranks = [rankdata(values) for values in (one, other)]
    if any(np.ptp(rank) == 0 for rank in ranks):
        return 0.0
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def bootstrap(statistic: Callable[[NDArray[np.intp]], float], groups: Groups, seed: int = 0) -> Estimate:
    """Returns `statistic` of all row indices, with a 95 % interval from whole groups drawn with replacement."""
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    draws = [
        statistic(np.concatenate([members[pick] for pick in rng.integers(0, len(members), len(members))]))
        for _ in range(BOOTSTRAPS)
    ]
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    return Estimate(statistic(np.arange(len(groups))), float(low), float(high))


def auc_estimate(labels: Labels, scores: Floats, groups: Groups) -> Estimate:
    """Returns the AUC over rows, with a bootstrap interval over groups."""
    return bootstrap(lambda rows: auc(labels[rows], scores[rows]), groups)


def report_pairs(name: str, scores: Floats, rows: NDArray[Any]) -> PairReport:
    """Evaluates one scorer on paired clips; `rows` has the fields label, group and sharpness, one group per clip."""
    labels, groups = rows["label"].astype(int), rows["group"]
    clip_labels, clip_scores, clip_groups = clip_means(scores, labels, groups)
    real, fake = clip_scores[clip_labels == 0], clip_scores[clip_labels == 1]
    order = (fake > real) + 0.5 * (fake == real)
    reals = labels == 0
    return PairReport(
        name=name,
        frame_auc=auc_estimate(labels, scores, groups),
        clip_auc=auc_estimate(clip_labels, clip_scores, clip_groups),
        paired=bootstrap(lambda picks: float(order[picks].mean()), clip_groups[clip_labels == 0]),
        sharpness_rho=rank_correlation(scores[reals], rows["sharpness"][reals]),
    )


def clip_means(scores: Floats, labels: Labels, groups: Groups) -> tuple[Labels, Floats, Groups]:
    """Returns labels, mean scores and groups of every half of every clip; real halves first, in order of groups."""
    names = np.unique(groups)
    halves = [(label, group) for label in (0, 1) for group in names if np.any((labels == label) & (groups == group))]
    means = [float(scores[(labels == label) & (groups == group)].mean()) for label, group in halves]
    return np.array([half[0] for half in halves]), np.array(means), np.array([half[1] for half in halves])


def grouped_folds(groups: Groups, count: int, seed: int) -> NDArray[np.intp]:
    """Returns the fold of every row; groups are assigned at random and never split."""
    names = np.unique(groups)
    order = np.random.default_rng(seed).permutation(len(names))
    fold_of = {names[place]: index % count for index, place in enumerate(order)}
    return np.array([fold_of[group] for group in groups], dtype=np.intp)


def negative_log_likelihood(labels: Labels, llr: Floats, weights: Floats) -> float:
    """Returns the weighted mean of -log p(label) in nats, p = sigmoid(llr)."""
    signed = np.where(labels == 1, llr, -llr)
    return float(np.average(np.logaddexp(0, -signed), weights=weights))


def expected_calibration_error(labels: Labels, probabilities: Floats, weights: Floats, bins: int = 10) -> float:
    """Returns the weighted mean gap between mean probability and share of fakes, over bins of equal width."""
    place = np.minimum((probabilities * bins).astype(int), bins - 1)
    gaps = []
    for index in range(bins):
        inside = place == index
        total = weights[inside].sum()
        if total > 0:
            gap = np.average(labels[inside], weights=weights[inside]) - np.average(
                probabilities[inside], weights=weights[inside]
            )
            gaps.append(total * abs(gap))
    return float(sum(gaps) / weights.sum())
