"""File verdicts: the worst stretch judges a video; the sequential test judges pictures and whole videos."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from stream.config import StreamConfig
from stream.cusum import EvidenceModel
from stream.events import Label, Reason
from stream.file_stretches import alarm_stretches
from stream.file_verdict import FileRule, FileVerdict, judge_file
from stream.types import FaceObservation, ModelRef, Quality
from stream.worker_messages import FileFrame, JobDone

if TYPE_CHECKING:
    from collections.abc import Callable

MODEL = ModelRef(name="m", version="1", sha256="0" * 64, calibrated=True)
EVIDENCE = EvidenceModel(mean_real=0.7, mean_fake=2.5, sd=0.9, correlation_s=0.56)
RULE = FileRule(decision=StreamConfig().decision, model=MODEL, evidence=EVIDENCE, fastest_hz=5.0)
SHARP = Quality(face_px=160.0, sharpness=100.0, luminance=120.0, weight=1.0)


def frames_of(duration_s: float, llr_at: Callable[[float], float | None], rate_hz: float = 2.0) -> list[FileFrame]:
    """Returns frames with one face each, or without a face where `llr_at` returns None."""
    count = round(duration_s * rate_hz)
    frames = []
    for number in range(count):
        at_s = number / rate_hz
        llr = llr_at(at_s)
        face = FaceObservation(track=1, box=(0.1, 0.1, 0.5, 0.5), confidence=1.0, quality=SHARP, llr=llr, prob_fake=0.5)
        frames.append(FileFrame(
            job="j", frame_number=number, pts_s=at_s, width_px=640, height_px=360,
            faces=() if llr is None else (face,), unscored="", done=number + 1, planned=count,
        ))
    return frames


def judged(frames: list[FileFrame], rule: FileRule = RULE) -> FileVerdict:
    done = JobDone(
        job="j", file_type="video", container="mp4", codec="h264", total_frames=900, duration_s=60.0, bad_frames=0
    )
    return judge_file(frames, done, rule)


def test_a_short_swap_in_a_long_video_is_found_and_located() -> None:
    verdict = judged(frames_of(60.0, lambda at_s: 3.0 if 20 <= at_s < 35 else -1.5))
    assert (verdict.label, verdict.reason) == (Label.FAKE, Reason.EVIDENCE_FAKE)
    assert verdict.prob_fake is not None
    assert verdict.prob_fake > 0.9
    assert [segment.label for segment in verdict.segments] == [Label.REAL, Label.FAKE, Label.REAL]
    fake = verdict.segments[1]
    assert abs(fake.start_s - 20) <= 1
    assert abs(fake.end_s - 35) <= 1
    assert verdict.faces[0].label is Label.FAKE


def test_the_whole_file_test_alone_misses_that_swap() -> None:
    """Without a measured evidence model there is no alarm test, and the average hides the swap."""
    without = FileRule(decision=RULE.decision, model=MODEL, evidence=None, fastest_hz=5.0)
    verdict = judged(frames_of(60.0, lambda at_s: 3.0 if 20 <= at_s < 35 else -1.5), without)
    assert verdict.label is not Label.FAKE
    assert len(verdict.segments) == 1


def test_two_swaps_are_two_stretches() -> None:
    verdict = judged(frames_of(120.0, lambda at_s: 3.0 if 10 <= at_s < 30 or 80 <= at_s < 100 else -1.5))
    assert [s.label for s in verdict.segments] == [Label.REAL, Label.FAKE, Label.REAL, Label.FAKE, Label.REAL]


def test_a_stretch_ends_when_its_face_leaves() -> None:
    verdict = judged(frames_of(60.0, lambda at_s: 3.0 if at_s < 15 else None))
    assert [s.label for s in verdict.segments] == [Label.FAKE, Label.NO_FACE]
    assert verdict.label is Label.FAKE


def test_an_uncalibrated_model_raises_no_alarm() -> None:
    raw = ModelRef(name="m", version="1", sha256="0" * 64, calibrated=False)
    rule = FileRule(decision=RULE.decision, model=raw, evidence=EVIDENCE, fastest_hz=5.0)
    verdict = judged(frames_of(60.0, lambda at_s: 3.0), rule)
    assert (verdict.label, verdict.reason) == (Label.UNCERTAIN, Reason.UNCALIBRATED)


def test_real_faces_at_the_null_mean_raise_no_more_alarms_than_the_budget() -> None:
    """Five hours of genuine faces at the mean that the limit allows for; the budget is one alarm in 100 hours."""
    alarms = 0
    for seed in range(60):
        rng = random.Random(seed)
        frames = frames_of(300.0, lambda _, rng=rng: rng.gauss(EVIDENCE.mean_real, 0.9), rate_hz=1.0)
        alarms += len(alarm_stretches(frames, RULE.decision, EVIDENCE, RULE.fastest_hz))
    assert alarms <= 1


@given(st.lists(st.one_of(st.none(), st.floats(-6, 6)), min_size=1, max_size=80))
def test_segments_cover_the_whole_file_without_gaps(llrs: list[float | None]) -> None:
    frames = frames_of(len(llrs) / 2, lambda at_s: llrs[round(at_s * 2)])
    verdict = judged(frames)
    assert verdict.segments[0].start_s == frames[0].pts_s
    assert verdict.segments[-1].end_s == frames[-1].pts_s
    for before, after in zip(verdict.segments, verdict.segments[1:], strict=False):
        assert before.end_s == after.start_s
    is_fake = any(segment.label is Label.FAKE for segment in verdict.segments)
    assert is_fake == (verdict.label is Label.FAKE)
