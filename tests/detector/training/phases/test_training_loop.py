"""Losses between the rows of a batch: ranking of a fake above its own real, and variance of real faces."""

from __future__ import annotations

import numpy as np
import pytest

from detector.training.phases.training_loop import TrainingSchedule, _head_loss, offset_penalty, ranking_loss

# Real and fake half of each pair in turn: two sources, one 10 above the other.
ORDERED = np.array([[0.0], [2.0], [10.0], [12.0]], np.float32)


def test_ranking_compares_within_pairs_only() -> None:
    expected = np.log1p(np.exp(-2.0))
    assert float(ranking_loss(ORDERED)) == pytest.approx(expected, rel=1e-5)
    assert float(ranking_loss(ORDERED[::-1])) == pytest.approx(np.log1p(np.exp(2.0)), rel=1e-5)
    shifted = ORDERED + np.array([[0], [0], [50], [50]], np.float32)
    assert float(ranking_loss(shifted)) == pytest.approx(expected, rel=1e-5), "an offset of a source adds no loss"


def test_the_penalty_is_the_variance_of_real_halves() -> None:
    assert float(offset_penalty(ORDERED)) == pytest.approx(25.0)
    fakes_moved = ORDERED + np.array([[0], [5], [0], [-90]], np.float32)
    assert float(offset_penalty(fakes_moved)) == pytest.approx(25.0)


def test_a_schedule_adds_both_to_the_cross_entropy() -> None:
    labels = np.array([[0.0], [1.0], [0.0], [1.0]], np.float32)

    def loss(**weights: float) -> float:
        return float(_head_loss(TrainingSchedule(1, seed=0, **weights))(labels, ORDERED))

    alone = loss()
    assert loss(rank_weight=0.5) == pytest.approx(alone + 0.5 * float(ranking_loss(ORDERED)), rel=1e-5)
    assert loss(offset_weight=0.1) == pytest.approx(alone + 2.5, rel=1e-5)
    assert loss(rank_weight=2, offset_weight=1) == pytest.approx(
        alone + 2 * float(ranking_loss(ORDERED)) + 25, rel=1e-5
    )
