"""Calibration fit: logistic regression from logits to log-likelihood ratios, on held-out data. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import minimize

from detector.frequency import FrequencyModel
from detector.fusion import Calibration
from detector.training.evaluation.estimates import Estimate, bootstrap, grouped_folds, negative_log_likelihood

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]
    Labels = NDArray[np.integer[Any]]
    Groups = NDArray[np.str_]

LLR_LIMIT = 4.0
MIN_GAIN = 0.3
MIN_SPECTRA = 50


@dataclass(frozen=True, slots=True, eq=False)
class HeldOutScores:
    """Scores of rows that the network did not see; `frequency` is the log-odds by the spectrum, NaN without one."""

    labels: Labels
    logits: Floats
    frequency: Floats
    groups: Groups

    @property
    def weights(self) -> Floats:
        return group_weights(self.labels, self.groups)


def group_weights(labels: Labels, groups: Groups) -> Floats:
    """Returns weights of mean 1 under which groups count equally within a label, and both labels count equally."""
    keys = np.char.add(labels.astype(str), np.char.add("|", groups.astype(str)))
    _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
    weights = 1.0 / counts[inverse]
    for label in (0, 1):
        total = weights[labels == label].sum()
        if total:
            weights[labels == label] /= total
    return np.asarray(weights * len(labels) / weights.sum())


def logistic(features: Floats, labels: Labels, weights: Floats, ridge: float) -> tuple[Floats, float]:
    """Returns coefficients and intercept of an L2-regularised logistic regression; the intercept has no penalty."""

    def loss(theta: Floats) -> tuple[float, Floats]:
        signed = np.where(labels == 1, 1.0, -1.0)
        margin = signed * (features @ theta[:-1] + theta[-1])
        slope = -signed * weights / (1 + np.exp(np.clip(margin, -50, 50))) / weights.sum()
        value = np.average(np.logaddexp(0, -margin), weights=weights) + ridge / 2 * float(theta[:-1] @ theta[:-1])
        return float(value), np.append(features.T @ slope + ridge * theta[:-1], slope.sum())

    found = minimize(loss, np.zeros(features.shape[1] + 1), jac=True, method="L-BFGS-B")
    return np.asarray(found.x[:-1]), float(found.x[-1])


def fit_frequency(features: Floats, labels: Labels, groups: Groups, ridge: float = 0.05) -> FrequencyModel | None:
    """Fits the logistic model of the frequency features (n, 15); rows with NaN are left out.

    Returns None where fewer than `MIN_SPECTRA` rows of either label are left.
    """
    kept = np.isfinite(features).all(axis=1)
    if min(np.sum(labels[kept] == 0), np.sum(labels[kept] == 1)) < MIN_SPECTRA:
        return None
    features, labels, groups = features[kept].astype(np.float64), labels[kept], groups[kept]
    reals = features[labels == 0]
    mean, scale = reals.mean(axis=0), np.maximum(reals.std(axis=0), 1e-3)
    z = np.clip((features - mean) / scale, -4, 4)
    coefficients, intercept = logistic(z, labels, group_weights(labels, groups), ridge)
    return FrequencyModel(tuple(mean.tolist()), tuple(scale.tolist()), tuple(coefficients.tolist()), intercept)


@dataclass(frozen=True, slots=True)
class FusionReport:
    """Result of the fusion fit; `delta_nll` is the change of the held-out loss (nats) by the frequency score."""

    calibration: Calibration
    delta_nll: Estimate
    frequency_used: bool


def fit_fusion(held: HeldOutScores, folds: int, seed: int, gain: float) -> FusionReport:
    """Fits bias and logit weight; the frequency weight only if it lowers the held-out loss with 95 % confidence."""
    both = np.column_stack([held.logits, np.nan_to_num(held.frequency)])
    fold = grouped_folds(held.groups, folds, seed)
    losses = [held_out_losses(both[:, :columns], held, fold) for columns in (1, 2)]
    weights = held.weights
    delta = bootstrap(
        lambda rows: float(np.average(losses[1][rows] - losses[0][rows], weights=weights[rows])), held.groups, seed
    )
    used = delta.high < 0
    coefficients, bias = logistic(both[:, : 2 if used else 1], held.labels, weights, ridge=1e-3)
    calibration = Calibration(
        bias=bias,
        logit_weight=max(0.0, float(coefficients[0])),
        frequency_weight=float(coefficients[1]) if used else 0.0,
        limit=LLR_LIMIT,
        gain=gain,
    )
    return FusionReport(calibration, delta, used)


def held_out_losses(features: Floats, held: HeldOutScores, fold: NDArray[np.intp]) -> Floats:
    """Returns the loss of every row, nats, under a regression fitted on the other folds."""
    losses = np.zeros(len(fold))
    weights = held.weights
    for index in np.unique(fold):
        inside, outside = fold == index, fold != index
        coefficients, bias = logistic(features[outside], held.labels[outside], weights[outside], ridge=1e-3)
        llr = features[inside] @ coefficients + bias
        losses[inside] = np.logaddexp(0, -np.where(held.labels[inside] == 1, llr, -llr))
    return losses


def worst_gain(held: HeldOutScores, calibration: Calibration, strata: NDArray[np.str_]) -> float:
    """Returns the factor <= 1 that calibrates the LLRs of the worst stratum: the smallest slope of a refit."""
    llr = calibration.bias + calibration.logit_weight * held.logits
    slopes = []
    for stratum in np.unique(strata):
        inside = strata == stratum
        if len(np.unique(held.labels[inside])) < 2:
            continue
        weights = group_weights(held.labels[inside], held.groups[inside])
        coefficients, _ = logistic(llr[inside, None], held.labels[inside], weights, ridge=1e-3)
        slopes.append(float(coefficients[0]))
    return float(np.clip(min(slopes, default=1.0), MIN_GAIN, 1.0))


def loss_of(held: HeldOutScores, calibration: Calibration) -> float:
    """Returns the held-out loss, nats, groups weighted equally; a constant posterior of .5 gives ln 2 = .693."""
    llr = calibration.gain * np.clip(
        calibration.bias + calibration.logit_weight * held.logits, -calibration.limit, calibration.limit
    )
    return negative_log_likelihood(held.labels, llr, held.weights)
