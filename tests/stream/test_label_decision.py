from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.config import DecisionConfig
from stream.cusum import EvidenceModel
from stream.events import Label, Reason
from stream.label_decision import FORGET_S, UNKNOWN, LabelDecider, alarm_policy_of
from tests.stream.observations import TINY, face, observation

MODEL = EvidenceModel(mean_real=-1.0, mean_fake=1.0, sd=1.4, correlation_s=0.72)
BLIND = EvidenceModel(mean_real=0.5, mean_fake=0.4, sd=1.0, correlation_s=0.5)


def watch(llrs: list[float], model: EvidenceModel = MODEL) -> LabelDecider:
    decider = LabelDecider(DecisionConfig(), fastest_hz=5.0)
    for sample, llr in enumerate(llrs):
        decider.observe(observation(sample, (face(1, llr),)), model)
    return decider


def test_evidence_raises_suspicion_then_an_alarm() -> None:
    reasons = [watch([2.0] * n).state(1, MODEL).reason for n in (2, 4, 60)]
    assert reasons == [Reason.INSUFFICIENT_EVIDENCE, Reason.MONITORING, Reason.EVIDENCE_FAKE]
    suspect = next(s for n in range(60) if (s := watch([2.0] * n).state(1, MODEL)).reason is Reason.SUSPECT)
    assert 0.5 <= suspect.suspicion < 1.0
    assert watch([2.0] * 60).state(1, MODEL).alarm


def test_a_cleared_face_is_real_until_the_evidence_decays() -> None:
    decider = watch([-2.0] * 40)
    assert decider.state(1, MODEL).label is Label.REAL
    for sample in range(40, 400):
        decider.observe(observation(sample, (face(1, 0.0),)), MODEL)
    assert decider.state(1, MODEL).label is Label.UNCERTAIN


def test_a_face_that_was_never_scored_is_unknown() -> None:
    decider = LabelDecider(DecisionConfig(), 5.0)
    decider.observe(observation(0, (face(1, None),)), MODEL)
    assert decider.state(1, MODEL) == UNKNOWN


def test_faces_too_small_to_judge_get_no_label() -> None:
    decider = LabelDecider(DecisionConfig(), 5.0)
    for sample in range(200):
        decider.observe(observation(sample, (face(1, 9.0, TINY),)), MODEL)
    assert decider.state(1, MODEL).label is Label.UNCERTAIN


def test_each_face_has_its_own_sum() -> None:
    decider = LabelDecider(DecisionConfig(), 5.0)
    for sample in range(80):
        decider.observe(observation(sample, (face(1, 2.0), face(2, -2.0))), MODEL)
    assert decider.state(1, MODEL).label is Label.FAKE
    assert decider.state(2, MODEL).label is Label.REAL


def test_an_alarm_closes_when_its_face_leaves() -> None:
    decider = watch([2.0] * 60)
    later = 60 + round(FORGET_S * 2) + 2
    decider.observe(observation(later, ()), MODEL)
    assert decider.state(1, MODEL) == UNKNOWN


def test_model_without_separation_never_decides_and_its_policy_has_no_delay() -> None:
    assert watch([4.0] * 500, BLIND).state(1, BLIND).label is Label.UNCERTAIN
    assert alarm_policy_of(DecisionConfig(), (5.0, 2.0), BLIND).delay_s is None


def test_a_smaller_budget_waits_longer() -> None:
    delays = [
        alarm_policy_of(DecisionConfig(false_alarms_per_hour=rate), (5.0, 2.0), MODEL).delay_s
        for rate in (1.0, 0.1, 0.01)
    ]
    assert delays == sorted(delays, key=lambda d: d or 0.0)
    assert delays[0] != delays[2]


@given(st.lists(st.floats(-4, 4), min_size=2, max_size=60), st.integers(1, 59))
def test_another_process_continues_from_the_published_state(llrs: list[float], cut: int) -> None:
    cut = min(cut, len(llrs) - 1)
    replacement = LabelDecider(DecisionConfig(), 5.0)
    replacement.restore(watch(llrs[:cut]).snapshot(MODEL))
    for sample in range(cut, len(llrs)):
        replacement.observe(observation(sample, (face(1, llrs[sample]),)), MODEL)
    assert replacement.snapshot(MODEL) == watch(llrs).snapshot(MODEL)


@pytest.mark.parametrize("faces", [65, 200])
def test_memory_is_bounded_for_any_number_of_faces(faces: int) -> None:
    decider = LabelDecider(DecisionConfig(), 5.0)
    for sample in range(3):
        crowd = tuple(face(n, 1.0) for n in range(faces))
        decider.observe(observation(sample, crowd), MODEL)
    assert len(decider.snapshot(MODEL).tracks) <= 64
