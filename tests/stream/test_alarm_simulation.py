"""Tests of the alarm rule on synthetic evidence: the budget is kept, and the delay matches the formula."""

from __future__ import annotations

import math

import pytest
from scipy.stats import norm

from stream.alarm_simulation import SimulatedStreams, simulate
from stream.cusum import AlarmBudget, EvidenceModel

RATE_HZ = 2.0
TARGET_PER_HOUR = 1.0
CORRELATIONS_S = {0.0: 0.0, 0.5: -0.5 / math.log(0.5), 0.9: -0.5 / math.log(0.9)}


def model_of(auc: float, rho: float) -> EvidenceModel:
    """Returns calibrated Gaussian evidence with this per-sample AUC: means -m and m, variance 2m."""
    m = float(norm.ppf(auc)) ** 2
    return EvidenceModel(-m, m, math.sqrt(2 * m), CORRELATIONS_S[rho], clip=100.0)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("auc", [0.75, 0.85, 0.95])
def test_budget_is_kept_and_delay_matches_the_formula(auc: float, rho: float) -> None:
    outcome = simulate(
        AlarmBudget(TARGET_PER_HOUR, RATE_HZ), model_of(auc, rho), SimulatedStreams(RATE_HZ), streams=512
    )
    assert outcome.rate_high <= TARGET_PER_HOUR
    assert outcome.detected_share == 1.0
    assert outcome.delay_mean_s == pytest.approx(outcome.delay_formula_s, rel=0.1)


@pytest.mark.parametrize(
    "world",
    [
        SimulatedStreams(RATE_HZ, offset_sd=0.3),
        SimulatedStreams(RATE_HZ, offset_sd=0.5),
        SimulatedStreams(RATE_HZ, tail_df=4),
        SimulatedStreams(RATE_HZ, gap_share=0.3),
        SimulatedStreams(RATE_HZ, gap_share=0.7),
        SimulatedStreams(RATE_HZ, tracks=2),
    ],
    ids=["offset .3", "offset .5", "heavy tails", "30 % lost", "70 % lost", "two faces"],
)
@pytest.mark.parametrize("rho", [0.5, 0.9])
def test_budget_is_kept_on_evidence_that_differs_from_the_model(world: SimulatedStreams, rho: float) -> None:
    """With an offset per stream, `mean_real` is the 95th percentile of the streams' means, as the model defines it."""
    budget = AlarmBudget(TARGET_PER_HOUR, RATE_HZ, tracks=world.tracks)
    outcome = simulate(budget, model_of(0.85, rho), world, streams=512)
    assert outcome.rate_high <= TARGET_PER_HOUR


def test_correlated_evidence_without_discount_exceeds_the_budget() -> None:
    """Control: correlated evidence treated as independent gives many times the allowed alarms."""
    naive = model_of(0.85, 0.0)
    outcome = simulate(
        AlarmBudget(TARGET_PER_HOUR, RATE_HZ),
        naive,
        SimulatedStreams(RATE_HZ, correlation_s=CORRELATIONS_S[0.9]),
        streams=64,
    )
    assert outcome.rate_low > 10 * TARGET_PER_HOUR


def test_model_without_separation_never_alarms_and_reports_infinite_delay() -> None:
    blind = EvidenceModel(mean_real=0.5, mean_fake=0.4, sd=1.0, correlation_s=0.5)
    outcome = simulate(AlarmBudget(), blind, SimulatedStreams(RATE_HZ), streams=8, hours=0.1)
    assert outcome.detected_share == 0.0
    assert math.isinf(outcome.delay_formula_s)
