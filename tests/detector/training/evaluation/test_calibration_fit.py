"""Calibration fit on simulated scores with known LLRs."""

from __future__ import annotations

import numpy as np
import pytest

from detector.frequency import FEATURE_COUNT, frequency_logit
from detector.training.evaluation import calibration_fit
from detector.training.evaluation.calibration_fit import HeldOutScores
from detector.training.evaluation.estimates import auc


def held(seed: int, informative_frequency: bool) -> HeldOutScores:
    """400 groups of 4 rows; the true LLR of the logit is 2 x, that of the frequency score 1.5 x or nothing."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(rng.integers(0, 2, 400), 4)
    sign = 2.0 * labels - 1
    logits = rng.normal(sign * 0.5, 0.5**0.5)
    frequency = rng.normal(sign * 0.75 if informative_frequency else 0.0 * sign, 1.0)
    return HeldOutScores(labels, logits, frequency, np.repeat([f"g{index}" for index in range(400)], 4))


def test_logistic_finds_the_true_weights() -> None:
    data = held(0, informative_frequency=True)
    both = np.column_stack([data.logits, data.frequency])
    coefficients, intercept = calibration_fit.logistic(both, data.labels, data.weights, ridge=1e-6)
    assert coefficients == pytest.approx([2.0, 1.5], rel=0.2)
    assert intercept == pytest.approx(0.0, abs=0.2)


def test_the_frequency_score_gets_a_weight_only_if_it_helps() -> None:
    useful = calibration_fit.fit_fusion(held(1, informative_frequency=True), folds=4, seed=0, gain=1.0)
    assert useful.frequency_used
    assert useful.delta_nll.high < 0
    assert useful.calibration.frequency_weight == pytest.approx(1.5, rel=0.25)
    useless = calibration_fit.fit_fusion(held(2, informative_frequency=False), folds=4, seed=0, gain=1.0)
    assert not useless.frequency_used
    assert useless.calibration.frequency_weight == 0.0
    assert useless.calibration.logit_weight == pytest.approx(2.0, rel=0.2)


def test_a_network_that_is_worse_than_chance_gets_no_weight() -> None:
    data = held(3, informative_frequency=False)
    turned = HeldOutScores(data.labels, -data.logits, data.frequency, data.groups)
    assert calibration_fit.fit_fusion(turned, folds=4, seed=0, gain=1.0).calibration.logit_weight == 0.0


def test_the_gain_follows_the_worst_stratum() -> None:
    good, bad = held(4, informative_frequency=False), held(5, informative_frequency=False)
    both = HeldOutScores(
        np.concatenate([good.labels, bad.labels]),
        np.concatenate([good.logits, 2 * bad.logits]),
        np.concatenate([good.frequency, bad.frequency]),
        np.concatenate([good.groups, np.char.add("b", bad.groups)]),
    )
    strata = np.repeat(["good", "bad"], len(good.labels))
    calibration = calibration_fit.fit_fusion(good, folds=4, seed=0, gain=1.0).calibration
    assert calibration_fit.worst_gain(both, calibration, strata) == pytest.approx(0.5, rel=0.2)
    assert calibration_fit.worst_gain(good, calibration, np.full(len(good.labels), "one")) == pytest.approx(
        1.0, abs=0.05
    )


def test_groups_have_equal_weight_at_any_number_of_rows() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1])
    groups = np.array(["a", "a", "a", "b", "c", "d"])
    weights = calibration_fit.group_weights(labels, groups)
    assert weights[:3].sum() == pytest.approx(weights[3])
    assert weights[labels == 0].sum() == pytest.approx(weights[labels == 1].sum())
    assert weights.mean() == pytest.approx(1.0)


def test_informative_scores_have_a_lower_loss_than_chance() -> None:
    data = held(6, informative_frequency=False)
    calibration = calibration_fit.fit_fusion(data, folds=4, seed=0, gain=1.0).calibration
    assert calibration_fit.loss_of(data, calibration) < 0.6 < np.log(2)


def test_the_frequency_model_separates_labels_and_needs_enough_spectra() -> None:
    rng = np.random.default_rng(8)
    labels = np.repeat([0, 1], 200)
    features = rng.normal(0, 1, (400, FEATURE_COUNT))
    features[labels == 1, 3] += 2
    features[::10] = np.nan
    model = calibration_fit.fit_frequency(features, labels, np.arange(400).astype(str))
    assert model is not None
    seen = np.isfinite(features).all(axis=1)
    scores = np.array([frequency_logit(row, model) for row in features[seen].astype(np.float32)])
    assert auc(labels[seen], scores) > 0.85
    assert calibration_fit.fit_frequency(features[:60], labels[:60], np.arange(60).astype(str)) is None
