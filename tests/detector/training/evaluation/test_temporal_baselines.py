"""Temporal baselines on simulated tracks with known offsets."""

from __future__ import annotations

import numpy as np
import pytest

from detector.training.evaluation.markdown_report import temporal_tables
from detector.training.evaluation.temporal_baselines import (
    LogitTrack,
    compare_baselines,
    group_tracks,
    history_comparison,
    window_scores,
)

FRAMES = 16


def track(rng: np.random.Generator, group: str, label: int, look: float, shows: float = 0.0) -> LogitTrack:
    """A clip whose logits all lie `look` higher, and, if it is a fake, `shows` higher in the contrast as well."""
    logits, contrasts = rng.normal(0, 0.3, (2, FRAMES))
    return LogitTrack(group, label, logits + look + shows * label, contrasts + shows * label)


def tracks(seed: int, spread: float, shows: float, count: int = 30) -> list[LogitTrack]:
    rng = np.random.default_rng(seed)
    looks = rng.normal(0, spread, count)
    return [track(rng, f"g{place}", label, looks[place], shows) for place in range(count) for label in (0, 1)]


def test_rim_and_history_detect_fakes_that_clip_offsets_hide_from_the_mean() -> None:
    found = compare_baselines(tracks(0, spread=3.0, shows=0.6), folds=5, seed=0)
    assert found["mean logit"].value < 0.7
    assert found["face against rim"].value > 0.95
    assert found["model of the window"].value > 0.9
    assert found["swap begins half-way: mean logit since"].value < 0.7
    assert found["swap begins half-way: against own history"].value > 0.95


def test_all_baselines_are_at_chance_without_a_difference() -> None:
    found = compare_baselines(tracks(1, spread=1.0, shows=0.0, count=60), folds=5, seed=0)
    for name, estimate in found.items():
        assert estimate.value == pytest.approx(0.5, abs=0.15), name


def test_the_window_model_is_cross_validated_over_groups() -> None:
    made = tracks(2, spread=0.0, shows=0.5, count=10)
    odd = [t._replace(label=1 - t.label) if t.group == "g3" else t for t in made]
    scores = window_scores(odd, folds=10, seed=0)
    wrong = {t.label: score for t, score in zip(odd, scores, strict=True) if t.group == "g3"}
    assert wrong[1] < wrong[0], "what it learned of the others contradicts this group's labels"


def test_history_needs_both_halves_of_a_group() -> None:
    made = tracks(3, spread=1.0, shows=1.0, count=3)[:-1]
    groups, labels, levels, changes = history_comparison(made)
    assert groups == ["g0", "g0", "g1", "g1"]
    assert labels.tolist() == [0, 1, 0, 1]
    assert changes[1] - changes[0] == pytest.approx(levels[1] - levels[0]), "both begin alike"
    assert "swap begins half-way: mean logit since" not in compare_baselines([made[0], made[3]] * 3, folds=2, seed=0)


def test_tracks_do_not_depend_on_the_order_of_clips() -> None:
    kinds = [("group", "U8"), ("label", "u1"), ("logit", "f4"), ("contrast", "f4")]
    rows = np.array([("b", 1, n, -n) for n in range(5)] + [("a", 0, 9, 9)] * 3 + [("b", 0, 1, 1)] * 4, kinds)
    real, fake = group_tracks(rows)
    assert (real.group, real.label, real.logits.tolist()) == ("b", 0, [1, 1, 1, 1])
    assert (fake.label, fake.contrasts.tolist()) == (1, [0, -1, -2, -3, -4])


def test_the_table_has_a_row_per_condition_and_empty_cells_for_missing_baselines() -> None:
    known = {"value": 0.75, "low": 0.6, "high": 0.9}
    lines = temporal_tables({"as it came": {"mean logit": known}, "blur 3": {"mean logit": known, "own": known}})
    assert lines[4] == "| condition | mean logit | own |"
    assert lines[6] == "| as it came | 0.750 [0.60, 0.90] |  |"
    assert lines[7] == "| blur 3 | 0.750 [0.60, 0.90] | 0.750 [0.60, 0.90] |"
    assert temporal_tables({}) == []
