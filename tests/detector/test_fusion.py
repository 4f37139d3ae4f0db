from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.fusion import Calibration, log_likelihood_ratio, prob_fake

PLAIN = Calibration(bias=-0.5, logit_weight=2.0)
BOTH = Calibration(bias=0.0, logit_weight=1.0, frequency_weight=0.5, limit=3.0, gain=0.5)


def test_llr_is_the_calibrated_logit() -> None:
    assert log_likelihood_ratio(1.0, None, PLAIN) == pytest.approx(1.5)
    assert log_likelihood_ratio(1.0, 0.99, PLAIN) == pytest.approx(1.5), "a weight of 0 leaves the frequency score out"


def test_frequency_score_enters_as_log_odds() -> None:
    assert log_likelihood_ratio(1.0, 0.5, BOTH) == pytest.approx(0.5)
    assert log_likelihood_ratio(1.0, 0.8, BOTH) == pytest.approx(0.5 * (1 + 0.5 * math.log(4)))
    assert log_likelihood_ratio(1.0, None, BOTH) == pytest.approx(0.5)


def test_llr_is_clipped_before_the_gain() -> None:
    assert log_likelihood_ratio(1e9, 1.0, BOTH) == pytest.approx(1.5)
    assert log_likelihood_ratio(-1e9, 0.0, BOTH) == pytest.approx(-1.5)


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_posterior_rises_with_the_logit(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert log_likelihood_ratio(low, None, PLAIN) <= log_likelihood_ratio(high, None, PLAIN)
    assert 0 <= prob_fake(low) <= prob_fake(high) <= 1


def test_even_evidence_is_one_half_and_extremes_do_not_overflow() -> None:
    assert prob_fake(0.0) == 0.5
    assert prob_fake(1e5) == 1.0
    assert prob_fake(-1e5) == 0.0
    assert prob_fake(2.0) == pytest.approx(1 - prob_fake(-2.0))


@pytest.mark.parametrize("logit", [math.nan, math.inf, -math.inf])
def test_a_logit_that_is_no_number_is_an_error(logit: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        log_likelihood_ratio(logit, None, PLAIN)


@pytest.mark.parametrize(
    "wrong",
    [
        {"bias": math.nan},
        {"logit_weight": -1.0},
        {"limit": 0.0},
        {"gain": 0.0},
        {"gain": 1.5},
        {"frequency_weight": math.inf},
    ],
)
def test_a_calibration_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="calibration"):
        Calibration(**{"bias": 0.0, "logit_weight": 1.0, **wrong})
