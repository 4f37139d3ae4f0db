from __future__ import annotations

import math

import numpy as np
import pytest

from detector.training.evaluation.evidence_model import LlrSeries, clip_means, correlation_time_s, measure_evidence


def ar1(rho: float, count: int, seed: int, mean: float = 0.0) -> LlrSeries:
    random = np.random.default_rng(seed)
    values = np.empty(count)
    values[0] = random.normal()
    for k in range(1, count):
        values[k] = rho * values[k - 1] + math.sqrt(1 - rho**2) * random.normal()
    return LlrSeries(values + mean, 0.2)


@pytest.mark.parametrize("rho", [0.3, 0.6])
def test_the_correlation_time_of_a_known_series(rho: float) -> None:
    clips = [ar1(rho, 3000, seed) for seed in range(4)]
    assert correlation_time_s(clips) == pytest.approx(-0.2 / math.log(rho), rel=0.15)


def test_independent_frames_have_no_correlation_time() -> None:
    assert correlation_time_s([ar1(0.0, 5000, 1)]) < 0.08
    assert correlation_time_s([]) == 0.0


def test_frames_without_a_face_do_not_count() -> None:
    clip = ar1(0.6, 4000, 2)
    clip.llr[::7] = math.nan
    assert correlation_time_s([clip]) == pytest.approx(-0.2 / math.log(0.6), rel=0.2)


def test_statistics_of_real_and_fake_clips() -> None:
    real = [ar1(0.5, 400, seed, mean=seed / 100 - 1) for seed in range(100)]
    stats = measure_evidence(real, [-1.0, 1.0, 2.0, 3.0])
    means = [float(np.mean(clip.llr)) for clip in real]
    assert stats.mean_real == pytest.approx(np.percentile(means, 95))
    assert stats.mean_fake == pytest.approx(2.0)
    assert stats.detectable == 0.75
    assert stats.real_middle == pytest.approx(np.median(means))
    assert stats.fake_low == pytest.approx(np.percentile([-1.0, 1.0, 2.0, 3.0], 10))
    assert stats.sd == pytest.approx(1.0, abs=0.05)


def test_fakes_below_the_real_percentile_are_not_detectable() -> None:
    real = [ar1(0.5, 400, seed, mean=1.0) for seed in range(10)]
    stats = measure_evidence(real, [-1.0, 0.0])
    assert stats.detectable == 0.0
    assert stats.mean_fake == stats.mean_real


def test_means_by_clip() -> None:
    assert clip_means([1.0, 3.0, 5.0], ["a", "a", "b"]) == {"a": 2.0, "b": 5.0}
