"""Metrics by swap tool: how often a fake scores above its own real, and the spread of real clips. Pure.

A clip is one pair of a real recording and its swap. Its two logits are means over frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from detector.training.evaluation.estimates import Estimate, auc, bootstrap

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]
    Names = NDArray[np.str_]


@dataclass(frozen=True, slots=True, eq=False)
class ClipScores:
    """Mean logits of pairs of clips: `tools`, `groups` (the real person), `reals` and `fakes`, (n,) each."""

    tools: Names
    groups: Names
    reals: Floats
    fakes: Floats

    def take(self, rows: NDArray[Any]) -> ClipScores:
        """Returns the pairs selected by indices or by a boolean mask."""
        return ClipScores(self.tools[rows], self.groups[rows], self.reals[rows], self.fakes[rows])


@dataclass(frozen=True, slots=True)
class ToolMetrics:
    """Metrics of one tool.

    `order` is the share of clips whose fake scores above its real; `auc` compares all fakes with all reals.
    """

    tool: str
    clips: int
    groups: int
    order: Estimate
    auc: Estimate
    mean_real: float
    mean_fake: float
    real_sd: float


def clip_scores(rows: NDArray[Any]) -> ClipScores:
    """Returns means over frames of rows with the fields tool, clip, group, label and logit.

    Clips with only one scored half are left out.
    """
    found: list[tuple[str, str, float, float]] = []
    for clip in np.unique(rows["clip"]):
        own = rows[rows["clip"] == clip]
        halves = [own["logit"][own["label"] == label] for label in (0, 1)]
        if all(len(half) for half in halves):
            real, fake = (float(half.mean()) for half in halves)
            found.append((str(own["tool"][0]), str(own["group"][0]), real, fake))
    columns = list(zip(*found, strict=True)) if found else [(), (), (), ()]
    names = [np.array(column, dtype=np.str_) for column in columns[:2]]
    means = [np.array(column, dtype=np.float64) for column in columns[2:]]
    return ClipScores(names[0], names[1], means[0], means[1])


def metrics_by_tool(scores: ClipScores) -> list[ToolMetrics]:
    """Returns the metrics of every tool, sorted by name."""
    return [compute_tool_metrics(str(tool), scores.take(scores.tools == tool)) for tool in np.unique(scores.tools)]


def compute_tool_metrics(name: str, scores: ClipScores) -> ToolMetrics:
    """Returns the metrics of all clips together; intervals by bootstrap over people."""
    order = (scores.fakes > scores.reals) + 0.5 * (scores.fakes == scores.reals)
    return ToolMetrics(
        tool=name,
        clips=len(order),
        groups=len(np.unique(scores.groups)),
        order=bootstrap(lambda rows: float(order[rows].mean()), scores.groups),
        auc=bootstrap(lambda rows: _auc(scores.take(rows)), scores.groups),
        mean_real=float(scores.reals.mean()),
        mean_fake=float(scores.fakes.mean()),
        real_sd=spread(scores.reals, scores.groups),
    )


def _auc(scores: ClipScores) -> float:
    labels = np.repeat([0, 1], len(scores.reals))
    return auc(labels, np.concatenate([scores.reals, scores.fakes]))


def spread(logits: Floats, groups: Names) -> float:
    """Returns the standard deviation between people of their mean logit; 0 for one person."""
    means = [float(logits[groups == group].mean()) for group in np.unique(groups)]
    return float(np.std(means, ddof=1)) if len(means) > 1 else 0.0
