from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.config import StreamConfig
from stream.events import Label, Reason, Verdict
from stream.file_verdict import FileRule, judge_file
from stream.rolling_verdicts import RollingVerdicts
from stream.worker_messages import FileFrame, JobDone
from tests.stream.observations import MODEL, TINY, face, moment, observation

if TYPE_CHECKING:
    from stream.types import FaceObservation, ModelRef

UNCALIBRATED = msgspec.structs.replace(MODEL, calibrated=False)


def watch(faces_by_cell: dict[int, tuple[FaceObservation, ...]], unscored: str = "") -> list[Verdict]:
    monitor = RollingVerdicts("call", 7, 0.3, StreamConfig())
    verdicts: list[Verdict] = []
    for cell, faces in faces_by_cell.items():
        verdicts += monitor.observe(observation(cell, faces, unscored), moment())
    return verdicts


def steady(llr: float | None, cells: int = 60) -> dict[int, tuple[FaceObservation, ...]]:
    return {cell: (face(llr=llr),) for cell in range(-1, cells)}


def test_clear_evidence_becomes_a_label_with_a_reason() -> None:
    last = watch(steady(3.0))[-1]
    assert (last.label, last.reason, last.alarm) == (Label.FAKE, Reason.EVIDENCE_FAKE, True)
    assert last.prob_fake is not None
    assert last.prob_fake > 0.98
    assert watch(steady(-3.0))[-1].label is Label.REAL
    assert watch(steady(0.1))[-1].reason is Reason.MONITORING


def test_the_first_windows_have_insufficient_evidence() -> None:
    verdicts = watch(steady(3.0))
    assert verdicts[0].reason is Reason.INSUFFICIENT_EVIDENCE
    assert verdicts[0].label is Label.UNCERTAIN


def test_no_face_is_a_label_of_its_own() -> None:
    last = watch(dict.fromkeys(range(-1, 8), ()))[-1]
    assert (last.label, last.prob_fake, last.faces) == (Label.NO_FACE, None, ())


def test_without_a_model_the_label_is_uncertain() -> None:
    with_face = watch(steady(None), unscored="no_model")[-1]
    without = watch(dict.fromkeys(range(-1, 8), ()), unscored="no_model")[-1]
    for verdict in (with_face, without):
        assert (verdict.label, verdict.reason) == (Label.UNCERTAIN, Reason.NO_MODEL)
        assert (verdict.prob_fake, verdict.coverage) == (None, 0.0)


def test_an_uncalibrated_model_gives_no_label() -> None:
    monitor = RollingVerdicts("call", 7, 0.3, StreamConfig())
    uncalibrated = moment()._replace(model=UNCALIBRATED)
    seen = [observation(cell, faces) for cell, faces in steady(4.0).items()]
    verdicts = [verdict for one in seen for verdict in monitor.observe(one, uncalibrated)]
    for verdict in verdicts:
        assert (verdict.label, verdict.reason, verdict.alarm) == (Label.UNCERTAIN, Reason.UNCALIBRATED, False)
        assert verdict.faces[0].reason is Reason.UNCALIBRATED
        assert verdict.prob_fake is not None
    assert verdicts


def rule_of(model: ModelRef) -> FileRule:
    return FileRule(decision=StreamConfig().decision, model=model, evidence=None, fastest_hz=5.0)


def test_an_uncalibrated_model_gives_no_label_for_a_file() -> None:
    frame = FileFrame(
        job="j", frame_number=0, pts_s=0.0, width_px=64, height_px=64, faces=(face(llr=4.0),), unscored="", done=1,
        planned=1,
    )
    done = JobDone(
        job="j", file_type="image", container="jpeg", codec="mjpeg", total_frames=1, duration_s=0.0, bad_frames=0
    )
    for model, reason in ((MODEL, Reason.BETWEEN_BOUNDS), (UNCALIBRATED, Reason.UNCALIBRATED)):
        verdict = judge_file([frame], done, rule_of(model))
        assert (verdict.label, verdict.reason) == (Label.UNCERTAIN, reason)
        assert verdict.faces[0].reason is reason


def test_faces_that_are_too_small_get_no_probability() -> None:
    last = watch({cell: (face(llr=9.0, quality=TINY),) for cell in range(-1, 8)})[-1]
    assert (last.label, last.reason, last.prob_fake) == (Label.UNCERTAIN, Reason.FACE_TOO_SMALL, None)


def test_lost_samples_lower_the_coverage_and_then_the_label() -> None:
    cells = {**steady(3.0, 40), 60: (face(llr=3.0),)}
    verdicts = watch(cells)
    assert verdicts[-1].coverage == pytest.approx(1 / 8)
    assert (verdicts[-1].label, verdicts[-1].reason) == (Label.UNCERTAIN, Reason.LOW_COVERAGE)
    assert [v.sequence for v in verdicts] == sorted({v.sequence for v in verdicts})


def test_faces_have_separate_evidence_and_the_most_suspicious_decides_the_stream() -> None:
    last = watch({cell: (face(1, -3.0), face(2, 3.0)) for cell in range(-1, 60)})[-1]
    assert [(f.track, f.label) for f in last.faces] == [(2, Label.FAKE), (1, Label.REAL)]
    assert last.label is Label.FAKE
    alone = watch({cell: (face(1, -3.0),) for cell in range(-1, 60)})[-1]
    assert last.faces[1].llr == pytest.approx(alone.faces[0].llr)


def test_a_face_that_left_is_forgotten_after_one_window() -> None:
    cells = {**steady(3.0, 6), **dict.fromkeys(range(6, 20), ())}
    assert watch(cells)[-1].label is Label.NO_FACE


def test_the_same_observation_twice_changes_nothing() -> None:
    monitor = RollingVerdicts("call", 7, 0.3, StreamConfig())
    first = observation(0, (face(llr=1.0),))
    assert len(monitor.observe(first, moment())) == 1
    assert monitor.observe(first, moment()) == ()


def test_the_age_runs_from_the_capture_of_the_newest_sample() -> None:
    monitor = RollingVerdicts("call", 7, 0.3, StreamConfig())
    seen = observation(0, (face(llr=1.0),))
    (verdict,) = monitor.observe(seen, moment(now_s=seen.capture_s + 0.25))
    assert verdict.age_ms == pytest.approx(250)


def test_ids_name_stream_epoch_and_window() -> None:
    ids = [v.id for v in watch(steady(1.0))]
    assert ids[0] == "call/7/0"
    assert len(set(ids)) == len(ids)


def test_finish_returns_the_remaining_window() -> None:
    config = StreamConfig()
    monitor = RollingVerdicts("call", 7, 0.3, config)
    assert monitor.finish(moment()) == ()
    monitor.observe(observation(-1, (face(llr=1.0),)), moment())
    (rest,) = monitor.finish(moment())
    assert rest.samples == 1
    assert rest.reason is Reason.INSUFFICIENT_EVIDENCE


@given(st.lists(st.tuples(st.integers(1, 40), st.floats(-9, 9)), min_size=1, max_size=60))
def test_verdict_values_are_in_range_for_any_observation(steps: list[tuple[int, float]]) -> None:
    monitor = RollingVerdicts("call", 7, 0.3, StreamConfig())
    sample, seen = -2, set[str]()
    for step, llr in steps:
        sample += step
        for verdict in monitor.observe(observation(sample, (face(llr=llr),)), moment()):
            assert 0.0 <= verdict.coverage <= 1.0
            assert verdict.prob_fake is None or 0.0 <= verdict.prob_fake <= 1.0
            assert verdict.samples <= verdict.wanted
            assert verdict.id not in seen
            seen.add(verdict.id)
