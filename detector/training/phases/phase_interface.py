"""Inputs and result of a training phase."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from detector.training.data.tool_folds import tool_folds
from detector.training.evaluation.estimates import grouped_folds
from detector.training.evaluation.loaded_model import FOLDS_FILE
from detector.training.phases.frozen_features import Extractor, Features
from detector.xception_openvino import FEATURES, HEAD_BIAS, HEAD_KERNEL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from detector.training.config import TrainConfig
    from detector.training.data.sample_collection import SampleCollection
    from detector.training.data.samples import SampleSet

    Arrays = Mapping[str, NDArray[Any]]
    Progress = Callable[[str, float], None]


class PhaseResult(NamedTuple):
    """Result of a phase: `arrays` of the network trained on everything, and `details` for the report.

    `clip_logits`, float32 (n,), are those of all clips by networks that did not see them.
    """

    arrays: Arrays
    clip_logits: NDArray[np.floating[Any]]
    details: dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class PhaseInputs:
    """Samples of one run, and the network it starts from: `released` under Keras names, `base` as stored arrays."""

    config: TrainConfig
    collection: SampleCollection
    released: Arrays
    base: Arrays
    progress: Progress

    def samples(self, name: str) -> SampleSet:
        """Returns the samples named `train` or `clips`."""
        return self.collection.train if name == "train" else self.collection.clips

    def features(self, name: str) -> Features:
        """Returns the frozen features of `samples(name)`; computed on first use and cached on disk."""
        return Extractor(self.base).extract(self.config.cache_dir, name, self.samples(name), self.progress)

    def deal_folds(self) -> dict[str, int]:
        """Returns the fold of every group of swapped footage and writes it to the run folder.

        A fold leaves out some groups of `clips` and, of `tool_clips`, whole tools with their people.
        """
        groups = self.collection.clips.rows["group"]
        fold_of = grouped_folds(groups, self.config.folds, self.config.seed)
        named = {str(group): int(fold) for group, fold in zip(groups, fold_of, strict=True)}
        named |= tool_folds(self.collection.tool_clips, self.config.folds)
        (self.config.run_dir / FOLDS_FILE).write_text(json.dumps(named, indent=1), encoding="utf-8")
        return named

    def clip_folds(self) -> NDArray[np.intp]:
        """Returns the fold of every row of `collection.clips`, intp (n,)."""
        dealt = self.deal_folds()
        return np.array([dealt[str(group)] for group in self.collection.clips.rows["group"]], np.intp)


def zero_head() -> dict[str, NDArray[np.float32]]:
    """Returns an untrained head, whose logit is 0 for every face."""
    return {HEAD_KERNEL: np.zeros((FEATURES, 1), np.float32), HEAD_BIAS: np.zeros(1, np.float32)}
