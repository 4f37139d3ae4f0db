"""Wald's sequential probability ratio test on correlated, quality-weighted evidence.

A. Wald, "Sequential Tests of Statistical Hypotheses", Ann. Math. Statist. 16 (1945), for the bounds;
G. V. Bayley and J. M. Hammersley, "The effective number of independent observations in an autocorrelated
time series", J. R. Statist. Soc. Suppl. 8 (1946), for the discount.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stream.events import Label, Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream.config import DecisionConfig


@dataclass(frozen=True, slots=True)
class WaldBounds:
    """Log-likelihood ratios (nats) at which the test stops: fake at or above `upper`, real at or below `lower`."""

    upper: float
    lower: float


def wald_bounds(false_alarm: float, miss: float) -> WaldBounds:
    """Returns `upper` = ln((1 - miss) / false_alarm) and `lower` = ln(miss / (1 - false_alarm))."""
    return WaldBounds(math.log((1 - miss) / false_alarm), math.log(miss / (1 - false_alarm)))


def effective_samples(count: int, correlation: float) -> float:
    """Returns the number of independent samples that carry as much information as `count` samples of an AR(1)
    series."""
    if count <= 1 or correlation <= 0:
        return float(count)
    rho = correlation
    # sum over lags k of (1 - k/n) rho^k in closed form
    tail = rho / (1 - rho) - rho * (1 - rho**count) / (count * (1 - rho) ** 2)
    return count / (1 + 2 * tail)


def sigmoid(value: float) -> float:
    """Returns 1 / (1 + exp(-value)) without overflow."""
    if value >= 0:
        return 1 / (1 + math.exp(-value))
    grown = math.exp(value)
    return grown / (1 + grown)


@dataclass(frozen=True, slots=True)
class Evidence:
    """Combined evidence of one face. `llr` is None if no sample was usable."""

    samples: int
    usable: int
    llr: float | None


def combine(llrs: Sequence[float], weights: Sequence[float], correlation: float) -> Evidence:
    """Returns the weighted evidence of one face: the sum of weight x llr, discounted for correlation between samples.

    `weights` in 0..1 scale each sample. Samples of weight 0 or with a non-finite llr are ignored.
    """
    usable = [(w, x) for w, x in zip(weights, llrs, strict=True) if w > 0 and math.isfinite(x)]
    if not usable:
        return Evidence(len(llrs), 0, None)
    mean = sum(w * x for w, x in usable) / len(usable)
    return Evidence(len(llrs), len(usable), effective_samples(len(usable), correlation) * mean)


def posterior(llr: float, config: DecisionConfig) -> float:
    """Returns the probability of fake, given the evidence and the operator's prior."""
    return sigmoid(llr + math.log(config.prior_fake / (1 - config.prior_fake)))


def decide(evidence: Evidence, config: DecisionConfig, min_samples: int) -> tuple[Label, Reason]:
    """Returns the label that this evidence supports."""
    if evidence.llr is None:
        return Label.UNCERTAIN, Reason.FACE_TOO_SMALL
    if evidence.usable < min_samples:
        return Label.UNCERTAIN, Reason.INSUFFICIENT_EVIDENCE
    bounds = wald_bounds(config.false_alarm, config.miss)
    if evidence.llr >= bounds.upper:
        return Label.FAKE, Reason.EVIDENCE_FAKE
    if evidence.llr <= bounds.lower:
        return Label.REAL, Reason.EVIDENCE_REAL
    return Label.UNCERTAIN, Reason.BETWEEN_BOUNDS
