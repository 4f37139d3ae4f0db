from __future__ import annotations

import numpy as np
import pytest

from detector.training.data.samples import SAMPLE_ROW
from detector.training.evaluation import estimates

RNG = np.random.default_rng(11)


def test_auc_of_hand_computed_cases() -> None:
    labels = np.array([0, 0, 1, 1])
    assert estimates.auc(labels, np.array([1.0, 2.0, 3.0, 4.0])) == 1.0
    assert estimates.auc(labels, np.array([4.0, 3.0, 2.0, 1.0])) == 0.0
    assert estimates.auc(labels, np.array([1.0, 3.0, 2.0, 4.0])) == 0.75
    assert estimates.auc(labels, np.zeros(4)) == 0.5
    assert np.isnan(estimates.auc(np.zeros(4, int), np.arange(4.0)))


def test_bootstrap_draws_whole_groups() -> None:
    groups = np.repeat([f"g{index}" for index in range(6)], 50)
    values = np.repeat(RNG.normal(0, 1, 6), 50)
    estimate = estimates.bootstrap(lambda rows: float(values[rows].mean()), groups)
    naive = 1.96 * values.std() / np.sqrt(len(values))
    assert estimate.low < estimate.value < estimate.high
    assert estimate.high - estimate.low > 4 * naive, "300 rows of 6 groups are 6 observations"


def test_folds_never_split_a_group() -> None:
    groups = RNG.choice([f"person-{index}" for index in range(17)], 400)
    folds = estimates.grouped_folds(groups, 5, seed=0)
    assert set(folds) == set(range(5))
    assert all(len(set(folds[groups == group])) == 1 for group in set(groups))


def rows_of_pairs(clips: int, frames: int) -> np.ndarray:
    rows = np.zeros(2 * clips * frames, dtype=SAMPLE_ROW)
    rows["label"] = np.tile([0, 1], clips * frames)
    rows["group"] = np.repeat([f"clip-{index}" for index in range(clips)], 2 * frames)
    rows["sharpness"] = RNG.uniform(10, 100, len(rows))
    return rows


def test_perfect_and_random_scorers_on_pairs() -> None:
    rows = rows_of_pairs(8, 5)
    perfect = estimates.report_pairs("perfect", rows["label"].astype(float), rows)
    assert perfect.frame_auc.value == perfect.clip_auc.value == perfect.paired.value == 1.0
    blind = estimates.report_pairs("blind", np.zeros(len(rows)), rows)
    assert blind.frame_auc.value == blind.paired.value == 0.5


def test_a_sharpness_scorer_has_a_high_rank_correlation() -> None:
    rows = rows_of_pairs(8, 20)
    report = estimates.report_pairs("soft", -rows["sharpness"].astype(float), rows)
    assert report.sharpness_rho == pytest.approx(-1.0)
    assert estimates.rank_correlation(np.array([1.0, 2.0, 9.0]), np.array([3.0, 5.0, 7.0])) == pytest.approx(1.0)
    assert estimates.rank_correlation(np.zeros(3), np.arange(3.0)) == 0.0


def test_likelihood_and_calibration_error() -> None:
    labels, even = np.array([0, 1]), np.ones(2)
    assert estimates.negative_log_likelihood(labels, np.zeros(2), even) == pytest.approx(np.log(2))
    assert estimates.negative_log_likelihood(labels, np.array([-9.0, 9.0]), even) < 1e-3
    assert estimates.expected_calibration_error(labels, np.array([0.0, 1.0]), even) == 0.0
    assert estimates.expected_calibration_error(labels, np.array([1.0, 0.0]), even) == 1.0
    assert estimates.expected_calibration_error(labels, np.array([0.5, 0.5]), even) == 0.0
