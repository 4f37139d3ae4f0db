from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.cusum import (
    CEILING,
    AlarmBudget,
    CusumState,
    EvidenceModel,
    EvidenceSample,
    advance,
    expected_delay_s,
    independence,
    threshold,
)

MODEL = EvidenceModel(mean_real=-1.0, mean_fake=1.0, sd=1.4, correlation_s=0.72)
LIMIT = threshold(AlarmBudget(0.01, 2.0), MODEL)
llrs = st.lists(st.floats(-10, 10), min_size=1, max_size=80)


def run(
    values: list[float], interval_s: float = 0.5, weight: float = 1.0, start: CusumState | None = None
) -> list[CusumState]:
    sums = start or CusumState()
    seen = []
    origin_s = 0.0 if start is None else start.pts_s + interval_s
    for k, llr in enumerate(values):
        sums = advance(sums, EvidenceSample(origin_s + k * interval_s, llr, weight), MODEL, LIMIT)
        seen.append(sums)
    return seen


def test_the_thresholds_of_the_published_table() -> None:
    """Five samples/s, neighbours correlated by 0.9: 1 and 0.1 false alarms per hour, and one per week."""
    model = EvidenceModel(-1.0, 1.0, 1.4, correlation_s=-0.2 / math.log(0.9))
    limits = [threshold(AlarmBudget(rate, 5.0), model) for rate in (1.0, 0.1, 1 / 168)]
    assert limits == pytest.approx([6.85, 9.16, 11.98], abs=0.01)


def test_two_faces_need_a_higher_threshold_for_the_same_budget() -> None:
    assert threshold(AlarmBudget(0.01, 2.0, tracks=2), MODEL) == pytest.approx(LIMIT + math.log(2))


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_independence_is_one_minus_rho_over_one_plus_rho(rho: float) -> None:
    tau = 0.0 if rho == 0 else -0.5 / math.log(rho)
    assert independence(0.5, tau) == pytest.approx((1 - rho) / (1 + rho))


def test_sum_equals_the_plain_recursion() -> None:
    random = np.random.default_rng(1)
    values = [float(v) for v in random.normal(0.0, 2.0, 200)]
    rise = 0.0
    for k, (value, sums) in enumerate(zip(values, run(values), strict=True)):
        new = 1.0 if k == 0 else math.tanh(0.5 / 1.44)
        rise = min(max(0.0, rise + new * MODEL.gain * (min(max(value, -4.0), 4.0) - 0.0)), CEILING * LIMIT)
        assert sums.statistic == pytest.approx(rise)


@given(st.lists(st.floats(-10, MODEL.reference), min_size=1, max_size=80))
def test_no_alarm_without_evidence_above_the_reference(values: list[float]) -> None:
    assert all(s.statistic == 0.0 and not s.alarm for s in run(values))


@given(llrs, st.integers(0, 79), st.floats(0, 5))
def test_more_suspicion_never_lowers_the_sum(values: list[float], at: int, bump: float) -> None:
    raised = list(values)
    raised[at % len(values)] += bump
    assert run(raised)[-1].statistic >= run(values)[-1].statistic - 1e-9


@given(llrs, st.integers(1, 79))
def test_a_replacement_process_continues_from_the_saved_state(values: list[float], cut: int) -> None:
    cut = min(cut, len(values))
    first = run(values[:cut])[-1]
    resumed = run(values[cut:], start=first)[-1] if values[cut:] else first
    whole = run(values)[-1]
    assert resumed.statistic == pytest.approx(whole.statistic)
    assert resumed.log_ratio == pytest.approx(whole.log_ratio)
    assert resumed.alarm == whole.alarm


@pytest.mark.parametrize(
    "useless",
    [
        EvidenceSample(9.0, math.nan, 1.0),
        EvidenceSample(9.0, 3.0, 0.0),
        EvidenceSample(1.0, 3.0, 1.0),
        EvidenceSample(math.nan, 3.0, 1.0),
    ],
)
def test_unusable_samples_change_nothing(useless: EvidenceSample) -> None:
    before = CusumState(pts_s=1.0, statistic=2.0, log_ratio=1.0, effective_samples=3.0)
    assert advance(before, useless, MODEL, LIMIT) == before


def test_an_alarm_latches_and_closes_once() -> None:
    states = run([3.0] * 60 + [0.3, -0.3] * 20 + [-3.0] * 60)
    alarms = [s.alarm for s in states]
    changes = [k for k in range(1, len(alarms)) if alarms[k] != alarms[k - 1]]
    assert len(changes) == 2
    assert alarms[changes[0]]
    assert not alarms[-1]
    assert max(s.statistic for s in states) <= CEILING * LIMIT


def test_low_quality_moves_the_sum_less() -> None:
    assert run([2.0] * 5, weight=0.25)[-1].statistic < run([2.0] * 5)[-1].statistic


def test_clearing_evidence_decays() -> None:
    cleared = run([-3.0] * 40)[-1]
    later = advance(cleared, EvidenceSample(cleared.pts_s + 600.0, MODEL.reference, 1.0), MODEL, LIMIT)
    assert cleared.log_ratio < -4
    assert -0.1 < later.log_ratio <= 0


def test_model_without_separation_is_reported() -> None:
    blind = EvidenceModel(mean_real=0.5, mean_fake=0.4, sd=1.0, correlation_s=0.5)
    assert not blind.separable
    assert expected_delay_s(LIMIT, 2.0, blind) == math.inf


@pytest.mark.parametrize("bad", [{"sd": 0.0}, {"clip": -1.0}, {"correlation_s": -1.0}])
def test_invalid_evidence_models_are_refused(bad: dict[str, float]) -> None:
    good = {"mean_real": -1.0, "mean_fake": 1.0, "sd": 1.0, "correlation_s": 0.5}
    with pytest.raises(ValueError, match="expected"):
        EvidenceModel(**(good | bad))


def test_a_budget_of_zero_alarms_is_refused() -> None:
    with pytest.raises(ValueError, match="expected"):
        AlarmBudget(false_alarms_per_hour=0.0)


def test_clearing_has_a_separate_test() -> None:
    """Evidence below the alarm's reference clears no face where many fakes have such evidence."""
    weak = EvidenceModel(0.8, 1.5, 0.4, 0.65, real_middle=-0.4, fake_low=0.12)
    sums = CusumState()
    for k in range(200):
        sums = advance(sums, EvidenceSample(k * 0.5, -0.14, 1.0), weak, LIMIT)
    assert sums.statistic == 0.0
    assert -1.0 < sums.log_ratio < 1.0
    for k in range(200, 400):
        sums = advance(sums, EvidenceSample(k * 0.5, -1.5, 1.0), weak, LIMIT)
    assert sums.log_ratio < -2.3


@pytest.mark.parametrize("fake_low", [-0.1, 0.1, 0.45])
def test_no_face_is_cleared_if_fakes_are_too_close_to_real_streams(fake_low: float) -> None:
    blind = EvidenceModel(0.8, 1.5, 0.4, 0.65, real_middle=0.1, fake_low=fake_low)
    sums = CusumState()
    for k in range(400):
        sums = advance(sums, EvidenceSample(k * 0.5, -4.0, 1.0), blind, LIMIT)
    assert blind.clear_gain == 0.0
    assert sums.log_ratio == 0.0
