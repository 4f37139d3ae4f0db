"""Temporal baselines: scores that cancel the offset of a clip, compared with the mean logit on the same frames. Pure.

The logit varies more between real clips than within one: light, codec and softness shift all frames of a clip. The
baselines are face against rim, a participant's own history, and a model of one window.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from detector.training.evaluation.calibration_fit import group_weights, logistic
from detector.training.evaluation.estimates import Estimate, auc, bootstrap, grouped_folds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]

_RIDGE = 0.05
_LEAST_FRAMES = 4


class LogitTrack(NamedTuple):
    """One face of one clip, in order of time: logits (n,), and contrasts (n,) between face and rim in the evidence map.

    Both are by a network that did not see `group`.
    """

    group: str
    label: int
    logits: Floats
    contrasts: Floats


def group_tracks(rows: NDArray[Any]) -> list[LogitTrack]:
    """Returns one track per group and label; `rows` has the fields group, label, logit and contrast, in order of time.

    Tracks of fewer than four frames are left out.
    """
    found = []
    for group in np.unique(rows["group"]):
        for label in (0, 1):
            own = rows[(rows["group"] == group) & (rows["label"] == label)]
            if len(own) >= _LEAST_FRAMES:
                scores = own["logit"].astype(np.float64), own["contrast"].astype(np.float64)
                found.append(LogitTrack(str(group), label, *scores))
    return found


def window_features(track: LogitTrack) -> Floats:
    """Returns (6,): mean, standard deviation and mean absolute change of logit and of contrast."""
    return np.array([
        value for series in (track.logits, track.contrasts)
        for value in (series.mean(), series.std(), np.abs(np.diff(series)).mean())
    ])  # fmt: skip


def window_scores(tracks: Sequence[LogitTrack], folds: int, seed: int) -> Floats:
    """Returns log-odds (tracks,) by a logistic regression on `window_features`, cross-validated over groups."""
    features = np.stack([window_features(track) for track in tracks])
    labels, groups = _labels(tracks), _groups(tracks)
    fold = grouped_folds(groups, folds, seed)
    scores = np.zeros(len(tracks))
    for index in np.unique(fold):
        seen = fold != index
        middle, spread = features[seen].mean(axis=0), np.maximum(features[seen].std(axis=0), 1e-6)
        weights = group_weights(labels[seen], groups[seen])
        coefficients, bias = logistic((features[seen] - middle) / spread, labels[seen], weights, _RIDGE)
        scores[~seen] = (features[~seen] - middle) / spread @ coefficients + bias
    return scores


def history_comparison(tracks: Sequence[LogitTrack]) -> tuple[list[str], NDArray[np.int64], Floats, Floats]:
    """Builds calls with a real first half and a real or swapped second half, of groups that have both.

    Returns groups, labels (1: swapped), mean logit of the second half, and its difference from the first half.
    """
    halves = {(track.group, track.label): track.logits for track in tracks}
    groups, labels, levels, changes = [], [], [], []
    for group in sorted({group for group, _ in halves}):
        if not {(group, 0), (group, 1)} <= halves.keys():
            continue
        middle = min(len(halves[group, label]) for label in (0, 1)) // 2
        before = halves[group, 0][:middle].mean()
        for label in (0, 1):
            level = halves[group, label][middle:].mean()
            groups.append(group)
            labels.append(label)
            levels.append(level)
            changes.append(level - before)
    return groups, np.array(labels), np.array(levels), np.array(changes)


def compare_baselines(tracks: Sequence[LogitTrack], folds: int, seed: int) -> dict[str, Estimate]:
    """Returns the clip AUC of every score on the same tracks, with bootstrap intervals over groups."""
    labels, groups = _labels(tracks), _groups(tracks)
    levels = np.array([track.logits.mean() for track in tracks])
    contrasts = np.array([track.contrasts.mean() for track in tracks])
    named, turned, late, changes = history_comparison(tracks)
    found = {
        "mean logit": _auc(labels, levels, groups),
        "face against rim": _auc(labels, contrasts, groups),
        "model of the window": _auc(labels, window_scores(tracks, folds, seed), groups),
    }
    if named:
        found["swap begins half-way: mean logit since"] = _auc(turned, late, np.array(named))
        found["swap begins half-way: against own history"] = _auc(turned, changes, np.array(named))
    return found


def _auc(labels: NDArray[np.int64], scores: Floats, groups: NDArray[np.str_]) -> Estimate:
    return bootstrap(lambda rows: auc(labels[rows], scores[rows]), groups)


def _labels(tracks: Sequence[LogitTrack]) -> NDArray[np.int64]:
    return np.array([track.label for track in tracks], dtype=np.int64)


def _groups(tracks: Sequence[LogitTrack]) -> NDArray[np.str_]:
    return np.array([track.group for track in tracks])
