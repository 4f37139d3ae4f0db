"""Operating point: the upper end of real streams, over all conditions."""

from __future__ import annotations

import numpy as np
import pytest

from detector.errors import TrainingRefused
from detector.training.evaluation.operating_point import with_operating_point
from detector.training.evaluation.window_verdicts import EvidenceTrack, TrackSource
from detector.types import EvidenceStats

STATS = EvidenceStats(0.2, 0.9, 0.3, 0.5, 0.8, -0.4, -0.1)


def track(label: int, condition: str, llr: float, weight: float = 1.0) -> tuple[TrackSource, EvidenceTrack]:
    times = np.arange(6) / 2
    made = EvidenceTrack(times, np.full(6, llr), np.full(6, weight), np.full(6, 120.0), 3.0)
    return TrackSource(label, "anna", "clip", condition), made


FAKES = [track(1, "as it came", llr) for llr in (0.1, 0.6, 1.0, 1.4)]


def test_a_condition_that_makes_real_people_look_fake_moves_the_limit() -> None:
    real = [track(0, "as it came", -0.5), track(0, "low light 3", 0.7)] * 50
    settled = with_operating_point(STATS, [*real, *FAKES])
    assert settled.mean_real == pytest.approx(0.7)
    assert settled.mean_fake == pytest.approx(1.2)
    assert settled.detectable == 0.5
    assert (settled.sd, settled.correlation_s, settled.real_middle) == (0.3, 0.5, -0.4)


def test_the_limit_is_never_lowered() -> None:
    settled = with_operating_point(STATS, [track(0, "as it came", -3.0), *FAKES])
    assert settled.mean_real == STATS.mean_real
    assert settled.detectable == 0.75


def test_only_uncorrupted_fakes_and_faces_of_native_size_count() -> None:
    real = [track(0, "face of 48 px", 5.0), track(0, "blur 3", 5.0, weight=0.0), track(0, "as it came", 0.0)]
    settled = with_operating_point(STATS, [*real, *FAKES, track(1, "blur 3", 9.0)])
    assert settled.mean_real == STATS.mean_real
    assert settled.mean_fake == pytest.approx(1.0)


def test_without_fakes_above_the_limit_nothing_is_detectable() -> None:
    settled = with_operating_point(STATS, [track(0, "blur 3", 2.0), *FAKES])
    assert settled.mean_fake == settled.mean_real == pytest.approx(2.0)
    assert settled.detectable == 0.0
    with pytest.raises(TrainingRefused, match="no footage"):
        with_operating_point(STATS, FAKES)
