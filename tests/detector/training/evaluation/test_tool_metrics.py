from __future__ import annotations

import numpy as np
import pytest

from detector.training.evaluation.tool_metrics import clip_scores, compute_tool_metrics, metrics_by_tool, spread

FIELDS = [("tool", "U40"), ("clip", "U120"), ("group", "U64"), ("label", "u1"), ("logit", "f4")]


def rows(*clips: tuple[str, str, str, list[float], list[float]]) -> np.ndarray:
    """`clips`: tool, clip, group, logits of real frames, logits of fake frames."""
    return np.array([
        (tool, clip, group, label, logit)
        for tool, clip, group, *halves in clips
        for label, half in enumerate(halves) for logit in half
    ], dtype=FIELDS)  # fmt: skip


def test_clip_scores_are_means_over_frames_of_clips_with_both_halves() -> None:
    scores = clip_scores(rows(("a", "one", "anna", [0, 2], [5]), ("a", "two", "bert", [1], [])))
    assert (scores.tools.tolist(), scores.groups.tolist()) == (["a"], ["anna"])
    assert (scores.reals.tolist(), scores.fakes.tolist()) == ([1.0], [5.0])
    assert len(clip_scores(rows()).reals) == 0


def test_order_compares_with_the_own_real_and_auc_with_all_reals() -> None:
    """Two people with distant logits: every fake is above its own real, one of them below the other real."""
    scores = clip_scores(rows(("a", "one", "anna", [0], [1]), ("a", "two", "bert", [10], [11])))
    (found,) = metrics_by_tool(scores)
    assert found.order.value == 1.0
    assert found.auc.value == 0.75
    assert (found.clips, found.groups, found.mean_real, found.mean_fake) == (2, 2, 5.0, 6.0)
    assert found.real_sd == pytest.approx(np.sqrt(50))


def test_each_tool_has_metrics_of_its_own_clips() -> None:
    scores = clip_scores(rows(
        ("good", "one", "anna", [0], [1]), ("bad", "two", "anna", [0], [-1]), ("tied", "three", "bert", [0], [0]),
    ))  # fmt: skip
    orders = {found.tool: found.order.value for found in metrics_by_tool(scores)}
    assert orders == {"bad": 0.0, "good": 1.0, "tied": 0.5}
    assert compute_tool_metrics("all", scores).order.value == 0.5


def test_spread_is_between_people_not_clips() -> None:
    assert spread(np.array([0.0, 2.0]), np.array(["anna", "anna"])) == 0.0
    assert spread(np.array([0.0, 2.0, 4.0]), np.array(["anna", "anna", "bert"])) == pytest.approx(np.sqrt(4.5))
