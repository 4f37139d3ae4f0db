"""What all phases of a training run start from, and what each of them gives back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from detector.training.evaluation.estimates import grouped_folds
from detector.training.evaluation.loaded_model import FOLDS_FILE
from detector.training.phases.frozen_features import Extractor, Features
from detector.xception_openvino import FEATURES, HEAD_BIAS, HEAD_KERNEL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from detector.training.config import TrainConfig
    from detector.training.data.collection import SampleCollection
    from detector.training.data.samples import SampleSet

    Arrays = Mapping[str, NDArray[Any]]
    Progress = Callable[[str, float], None]


class PhaseResult(NamedTuple):
    """Arrays of the network that saw everything, float32 (n,) logits of all clips by those that did not, and what the
    report says of the fit."""

    arrays: Arrays
    clip_logits: NDArray[np.floating[Any]]
    details: dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class PhaseInputs:
    """Samples of one run, and the network that it starts from: as Keras names it, and folded as we store it."""

    config: TrainConfig
    collection: SampleCollection
    released: Arrays
    base: Arrays
    progress: Progress

    def samples(self, name: str) -> SampleSet:
        """`train` or `clips`."""
        return self.collection.train if name == "train" else self.collection.clips

    def features(self, name: str) -> Features:
        """What the frozen network makes of `samples(name)`; computed when first asked for, and kept on disk."""
        return Extractor(self.base).extract(self.config.cache_dir, name, self.samples(name), self.progress)

    def deal_folds(self) -> NDArray[np.intp]:
        """Fold of every row of the clips, by group; the run's folder says which group went where."""
        groups = self.collection.clips.rows["group"]
        fold_of = grouped_folds(groups, self.config.folds, self.config.seed)
        named = {str(group): int(fold) for group, fold in zip(groups, fold_of, strict=True)}
        (self.config.run_dir / FOLDS_FILE).write_text(json.dumps(named, indent=1), encoding="utf-8")
        return fold_of


def zero_head() -> dict[str, NDArray[np.float32]]:
    """A head before training: 0 of every face."""
    return {HEAD_KERNEL: np.zeros((FEATURES, 1), np.float32), HEAD_BIAS: np.zeros(1, np.float32)}
