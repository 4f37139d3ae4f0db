"""From logits to log-likelihood ratios: logistic regression on people and clips that the network never saw. Pure."""

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
    """Rows that the scores of this table were not trained on. `frequency` is a log-odds, NaN where it abstains."""

    labels: Labels
    logits: Floats
    frequency: Floats
    groups: Groups

    @property
    def weights(self) -> Floats:
        return group_weights(self.labels, self.groups)


def group_weights(labels: Labels, groups: Groups) -> Floats:
    """Every group counts the same within its label, and both labels count the same; the mean weight is 1."""
    keys = np.char.add(labels.astype(str), np.char.add("|", groups.astype(str)))
    _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
    weights = 1.0 / counts[inverse]
    for label in (0, 1):
        total = weights[labels == label].sum()
        if total:
            weights[labels == label] /= total
    return np.asarray(weights * len(labels) / weights.sum())


def logistic(features: Floats, labels: Labels, weights: Floats, ridge: float) -> tuple[Floats, float]:
    """Coefficients and intercept of an L2-regularised logistic regression (the intercept is free)."""

    def loss(theta: Floats) -> tuple[float, Floats]:
        signed = np.where(labels == 1, 1.0, -1.0)
        margin = signed * (features @ theta[:-1] + theta[-1])
        slope = -signed * weights / (1 + np.exp(np.clip(margin, -50, 50))) / weights.sum()
        value = np.average(np.logaddexp(0, -margin), weights=weights) + ridge / 2 * float(theta[:-1] @ theta[:-1])
        return float(value), np.append(features.T @ slope + ridge * theta[:-1], slope.sum())

    found = minimize(loss, np.zeros(features.shape[1] + 1), jac=True, method="L-BFGS-B")
    return np.asarray(found.x[:-1]), float(found.x[-1])


def fit_frequency(features: Floats, labels: Labels, groups: Groups, ridge: float = 0.05) -> FrequencyModel | None:
    """Logistic model of standardised features; rows with NaN (the feature abstained) are left out.

    None where fewer than `MIN_SPECTRA` rows of either label are left.
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
    """Whether the frequency score earned its weight: the change of negative log-likelihood (nats) when it is added."""

    calibration: Calibration
    delta_nll: Estimate
    frequency_used: bool


def fit_fusion(held: HeldOutScores, folds: int, seed: int, gain: float) -> FusionReport:
    """b0 and b1 by logistic regression; b2 only if adding it lowers the held-out loss with 95 % confidence."""
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
    """Loss of every row, nats, under the regression that was fitted on the other folds."""
    losses = np.zeros(len(fold))
    weights = held.weights
    for index in np.unique(fold):
        inside, outside = fold == index, fold != index
        coefficients, bias = logistic(features[outside], held.labels[outside], weights[outside], ridge=1e-3)
        llr = features[inside] @ coefficients + bias
        losses[inside] = np.logaddexp(0, -np.where(held.labels[inside] == 1, llr, -llr))
    return losses


def worst_gain(held: HeldOutScores, calibration: Calibration, strata: NDArray[np.str_]) -> float:
    """How far LLRs must shrink to be calibrated on the worst stratum (a corruption, a kind): slope of a refit, <= 1."""
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
    """Held-out negative log-likelihood, nats, every group alike; ln 2 = .693 is what knowing nothing costs."""
    llr = calibration.gain * np.clip(
        calibration.bias + calibration.logit_weight * held.logits, -calibration.limit, calibration.limit
    )
    return negative_log_likelihood(held.labels, llr, held.weights)
