from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.config import DecisionConfig
from stream.events import Label, Reason
from stream.sprt import Evidence, combine, decide, effective_samples, posterior, sigmoid, wald_bounds

finite = st.floats(-20, 20)


def test_bounds_are_those_of_the_published_table() -> None:
    tight, loose = wald_bounds(0.001, 0.05), wald_bounds(0.01, 0.1)
    assert (tight.upper, tight.lower) == pytest.approx((6.86, -2.99), abs=0.01)
    assert (loose.upper, loose.lower) == pytest.approx((4.50, -2.29), abs=0.01)


@pytest.mark.parametrize(("count", "rho"), [(1, 0.5), (2, 0.5), (8, 0.5), (32, 0.9), (5, 0.0), (0, 0.9)])
def test_effective_samples_equals_the_sum_over_lags(count: int, rho: float) -> None:
    lags = sum((1 - k / count) * rho**k for k in range(1, count)) if count else 0.0
    assert effective_samples(count, rho) == pytest.approx(count / (1 + 2 * lags))


def test_effective_samples_is_the_variance_ratio_of_an_ar1_mean() -> None:
    random = np.random.default_rng(5)
    count, rho = 8, 0.5
    series = np.empty((40_000, count))
    series[:, 0] = random.normal(size=40_000)
    for k in range(1, count):
        series[:, k] = rho * series[:, k - 1] + math.sqrt(1 - rho**2) * random.normal(size=40_000)
    assert 1 / series.mean(axis=1).var() == pytest.approx(effective_samples(count, rho), rel=0.03)


@given(st.lists(finite, min_size=1, max_size=20), finite)
def test_more_suspicion_in_a_sample_never_lowers_the_evidence(llrs: list[float], bump: float) -> None:
    weights = [1.0] * len(llrs)
    before = combine(llrs, weights, 0.5).llr
    after = combine([llrs[0] + abs(bump), *llrs[1:]], weights, 0.5).llr
    assert before is not None
    assert after is not None
    assert after >= before - 1e-9


@given(st.lists(finite, min_size=1, max_size=12), st.randoms())
def test_the_order_of_samples_does_not_matter(llrs: list[float], random: object) -> None:
    shuffled = sorted(llrs)
    a, b = combine(llrs, [0.7] * len(llrs), 0.5), combine(shuffled, [0.7] * len(llrs), 0.5)
    assert a.llr == pytest.approx(b.llr)


def test_samples_that_are_not_usable_do_not_count() -> None:
    assert combine([3.0, math.nan, 9.0], [1.0, 1.0, 0.0], 0.0) == Evidence(3, 1, 3.0)
    assert combine([3.0], [0.0], 0.0) == Evidence(1, 0, None)
    assert combine([], [], 0.0).llr is None


def test_correlated_samples_are_worth_less() -> None:
    llrs, weights = [1.0] * 8, [1.0] * 8
    assert combine(llrs, weights, 0.0).llr == pytest.approx(8.0)
    correlated = combine(llrs, weights, 0.5).llr
    assert correlated is not None
    assert 1.0 < correlated < 4.0


@pytest.mark.parametrize(
    ("llr", "usable", "label", "reason"),
    [
        (5.0, 8, Label.FAKE, Reason.EVIDENCE_FAKE),
        (-3.0, 8, Label.REAL, Reason.EVIDENCE_REAL),
        (1.0, 8, Label.UNCERTAIN, Reason.BETWEEN_BOUNDS),
        (9.0, 2, Label.UNCERTAIN, Reason.INSUFFICIENT_EVIDENCE),
        (None, 0, Label.UNCERTAIN, Reason.FACE_TOO_SMALL),
    ],
)
def test_labels(llr: float | None, usable: int, label: Label, reason: Reason) -> None:
    assert decide(Evidence(8, usable, llr), DecisionConfig(), 3) == (label, reason)


def test_the_prior_moves_the_posterior() -> None:
    assert posterior(0.0, DecisionConfig(prior_fake=0.01)) == pytest.approx(0.01)
    assert posterior(2.0, DecisionConfig()) == pytest.approx(sigmoid(2.0))


@given(st.floats(-1e6, 1e6))
def test_sigmoid_never_overflows(value: float) -> None:
    assert 0.0 <= sigmoid(value) <= 1.0


@pytest.mark.parametrize("bad", [{"miss": 0.0}, {"false_alarm": 1.0}, {"prior_fake": 2.0}, {"correlation": 1.0}])
def test_invalid_settings_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        DecisionConfig(**bad)  # type: ignore[arg-type]
