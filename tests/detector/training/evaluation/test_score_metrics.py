"""Score metrics on simulated scores with known results."""

from __future__ import annotations

import numpy as np
import pytest

from detector.training.evaluation import score_metrics
from detector.training.evaluation.score_metrics import FrameScores

RNG = np.random.default_rng(5)


def scored(gap: float, offset_sd: float = 0.0, clips: int = 40, frames: int = 12) -> FrameScores:
    """Pairs of clips; frames of a clip share an offset, fakes lie `gap` higher."""
    labels = np.tile(np.repeat([0, 1], frames), clips)
    groups = np.repeat([f"clip-{index}" for index in range(clips)], 2 * frames)
    offsets = np.repeat(RNG.normal(0, offset_sd, 2 * clips), frames)
    llr = gap * (labels - 0.5) + offsets + RNG.normal(0, 1, len(labels))
    return FrameScores(labels, llr, groups, RNG.uniform(10, 100, len(labels)))


def test_metrics_of_good_and_random_scorers_and_of_one_label() -> None:
    good, blind = score_metrics.compute_metrics(scored(6.0)), score_metrics.compute_metrics(scored(0.0))
    assert good is not None
    assert blind is not None
    assert good.paired is not None
    assert (good.clip_auc.value, good.paired.value, good.equal_error, good.tpr_at_1) == (1.0, 1.0, 0.0, 1.0)
    assert good.abstains == 0.0
    assert blind.clip_auc.value == pytest.approx(0.5, abs=0.15)
    assert blind.equal_error == pytest.approx(0.5, abs=0.15)
    assert blind.ece > good.ece
    real = scored(1.0)
    assert score_metrics.compute_metrics(real.take(np.flatnonzero(real.labels == 0))) is None


def test_error_rates_of_hand_computed_cases() -> None:
    labels, scores = np.array([0, 0, 0, 0, 1, 1, 1, 1]), np.array([1.0, 2, 3, 5, 4, 6, 7, 8])
    assert score_metrics.equal_error(labels, scores) == pytest.approx(0.25)
    assert score_metrics.tpr_at(labels, scores) == 0.75
    assert score_metrics.tpr_at(labels, scores, fpr=0.25) == 1.0


def test_correlated_frames_make_more_clips_abstain() -> None:
    confident = scored(3.0)
    alone, discounted = (score_metrics.compute_metrics(confident, icc) for icc in (0.0, 0.9))
    assert alone is not None
    assert discounted is not None
    assert alone.abstains < 0.05
    assert discounted.abstains > 0.9


def test_the_intraclass_correlation_is_recovered() -> None:
    own = scored(0.0, offset_sd=2.0, clips=60)
    halves = np.char.add(own.groups, own.labels.astype(str))
    assert score_metrics.intraclass(own.llr, halves) == pytest.approx(0.8, abs=0.08)
    assert score_metrics.intraclass(scored(0.0).llr, halves[:960]) < 0.05


def test_a_sharpness_scorer_is_at_chance_at_equal_sharpness() -> None:
    base = scored(0.0)
    sharpness = np.where(base.labels == 1, 1.0, 2.0) + RNG.normal(0, 0.5, len(base.labels))
    soft = FrameScores(base.labels, -sharpness, base.groups, sharpness)
    found = score_metrics.compute_metrics(soft)
    assert found is not None
    assert found.frame_auc.value > 0.85
    assert found.matched_auc < found.frame_auc.value - 0.15
    assert found.sharpness_rho == pytest.approx(-1.0)
