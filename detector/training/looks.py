"""Scores that cancel a clip's own look: a face against its rim, a participant's own history, a model of one window.

Between real clips the logit varies more than between the frames of one: light, codec and softness shift all of them.
What is tried here is measured beside the plain mean, on the same frames. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from detector.training.calibrate import group_weights, logistic
from detector.training.evaluate import Estimate, auc, bootstrap, grouped_folds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]

RIM = 1
_RIDGE = 0.05
_LEAST_FRAMES = 4


class Track(NamedTuple):
    """One face of one clip: logits (n,) and evidence maps (n, s, s) in the order of time; both by a network that never
    saw `group`."""

    group: str
    label: int
    logits: Floats
    maps: Floats


def contrast(maps: Floats) -> Floats:
    """(n,) means of evidence maps (n, s, s) without their outermost cells, minus the means of those."""
    inner = maps[:, RIM:-RIM, RIM:-RIM]
    rim = (maps.sum(axis=(1, 2)) - inner.sum(axis=(1, 2))) / (maps[0].size - inner[0].size)
    return np.asarray(inner.mean(axis=(1, 2)) - rim)


def window_features(track: Track) -> Floats:
    """Level and restlessness of one window: of the logit, of the contrast, and of the map inside and at the rim."""
    inside, steps = contrast(track.maps), np.abs(np.diff(track.maps, axis=0))
    inner = steps[:, RIM:-RIM, RIM:-RIM].mean()
    rim = (steps.sum() - steps[:, RIM:-RIM, RIM:-RIM].sum()) / (steps.size - steps[:, RIM:-RIM, RIM:-RIM].size)
    return np.array([
        track.logits.mean(), track.logits.std(), np.abs(np.diff(track.logits)).mean(),
        inside.mean(), inside.std(), np.log(inner + 1e-6), np.log(inner + 1e-6) - np.log(rim + 1e-6),
    ])  # fmt: skip


def window_scores(tracks: Sequence[Track], folds: int, seed: int) -> Floats:
    """(tracks,) log-odds by a logistic regression of `window_features` that never saw the track's group."""
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


def own_history(tracks: Sequence[Track]) -> tuple[list[str], NDArray[np.int64], Floats, Floats]:
    """Calls that begin real and go on real, or in which a swap begins half-way, of groups that have both halves.

    Groups, labels (1: it begins), mean logit of the second half, and the same minus the mean of the first half.
    """
    halves = {(track.group, track.label): track.logits for track in tracks if len(track.logits) >= 2}
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


def beside(tracks: Sequence[Track], folds: int, seed: int) -> dict[str, Estimate]:
    """Clip AUC of every way to score the same tracks, with intervals by bootstrap over groups."""
    usable = [track for track in tracks if len(track.logits) >= _LEAST_FRAMES]
    labels, groups = _labels(usable), _groups(usable)
    levels = np.array([track.logits.mean() for track in usable])
    contrasts = np.array([contrast(track.maps).mean() for track in usable])
    named, turned, late, changes = own_history(usable)
    found = {
        "mean logit": _auc(labels, levels, groups),
        "face against rim": _auc(labels, contrasts, groups),
        "model of the window": _auc(labels, window_scores(usable, folds, seed), groups),
    }
    if named:
        found["swap begins half-way: mean logit since"] = _auc(turned, late, np.array(named))
        found["swap begins half-way: against own history"] = _auc(turned, changes, np.array(named))
    return found


def _auc(labels: NDArray[np.int64], scores: Floats, groups: NDArray[np.str_]) -> Estimate:
    return bootstrap(lambda rows: auc(labels[rows], scores[rows]), groups)


def _labels(tracks: Sequence[Track]) -> NDArray[np.int64]:
    return np.array([track.label for track in tracks], dtype=np.int64)


def _groups(tracks: Sequence[Track]) -> NDArray[np.str_]:
    return np.array([track.group for track in tracks])
