"""Phase `deep` from samples to networks: once on pseudo-fakes, then from there once per fold and once on everything.

No swapped clip takes part in the first stage, so all folds may start from it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from detector.arrays import write_arrays
from detector.config import Precision
from detector.engine import compile_cpu
from detector.training import deep
from detector.training.appraise import FOLDS_FILE, START_FILE
from detector.training.evaluate import auc_estimate, grouped_folds
from detector.xception_graph import FEATURES, HEAD_BIAS, HEAD_KERNEL, build_graph

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from detector.training.collect import Collection
    from detector.training.config import TrainConfig
    from detector.training.samples import Samples

    Arrays = Mapping[str, NDArray[Any]]
    Floats = NDArray[np.floating[Any]]
    Progress = Callable[[str, float], None]

_BATCH = 8
PRETRAINED_FILE, TUNED_FILE = "pretrained.npz", "tuned.npz"


@dataclass(frozen=True, slots=True, eq=False)
class DeepRun:
    """What one run trains on, and what it started from (as Keras names it)."""

    config: TrainConfig
    collection: Collection
    released: Arrays
    progress: Progress

    def fit(self) -> tuple[dict[str, NDArray[Any]], Floats, dict[str, Any]]:
        """Arrays of the network that saw everything, logits of all clips by those that did not, and details."""
        config, clips = self.config, self.collection.clips.rows
        fold_of = grouped_folds(clips["group"], config.folds, config.seed)
        named = {str(group): int(fold) for group, fold in zip(clips["group"], fold_of, strict=True)}
        (config.run_dir / FOLDS_FILE).write_text(json.dumps(named, indent=1), encoding="utf-8")
        head = {HEAD_KERNEL: np.zeros((FEATURES, 1), np.float32), HEAD_BIAS: np.zeros(1, np.float32)}
        write_arrays(config.run_dir / START_FILE, {**deep.served(self.released), **head})
        first = self._pretrained()
        logits = np.zeros(len(clips), np.float32)
        for index in range(config.folds if len(clips) else 0):
            rows, name = np.flatnonzero(fold_of == index), f"fold-{index}"
            arrays = deep.served(self._tuned(first, fold_of != index, name, f"fold {index + 1} of {config.folds}"))
            write_arrays(config.run_dir / f"{name}.npz", arrays)
            logits[rows] = self._scores(arrays, self.collection.clips, rows)
        tuned = self._tuned(first, np.ones(len(clips), np.bool_), "whole", "all clips")
        details = {
            "steps": [config.pretrain_steps, config.tune_steps],
            "rate": [deep.PRETRAINING.rate, deep.TUNING.rate],
            "size_px": [deep.PRETRAINING.size_px, deep.TUNING.size_px],
            "pretrained": self._families(deep.served(first)),
        }
        return deep.served(tuned), logits, details

    def _pretrained(self) -> Arrays:
        """Trained on pseudo-fakes of all families but one, which shows what a family that nobody saw is worth."""
        config, rows = self.config, self.collection.train.rows
        fakes = rows["kind"][1::2]
        seen = np.flatnonzero(fakes != config.pretrain_without)
        parts = [deep.PicturePart(self.collection.train, seen)]
        stage = deep.PRETRAINING, config.pretrain_steps
        return self._stage(self.released, parts, stage, "pretrained", "pseudo-fakes alone")

    def _tuned(self, first: Arrays, used: NDArray[np.bool_], name: str, told: str) -> Arrays:
        every = np.arange(len(self.collection.train) // 2)
        parts = [
            deep.PicturePart(self.collection.train, every),
            deep.PicturePart(self.collection.clips, np.flatnonzero(used[::2])),
        ]
        return self._stage(first, parts, (deep.TUNING, self.config.tune_steps), name, told)

    def _stage(
        self, start: Arrays, parts: list[deep.PicturePart], stage: tuple[deep.Stage, int], name: str, told: str
    ) -> Arrays:
        """Weights as Keras names them; those of an earlier run of the same settings if they are there."""
        folder, how = self.config.run_dir, stage[0]
        path = folder / f"{name}.keras.npz"
        if not path.is_file():
            batches = deep.PictureBatches(parts, how, self.config.seed)
            plan = how.plan(stage[1], self.config.seed, self.config.mask_weight)
            tell = partial(self.progress, f"deep: {told}")
            _write(path, deep.train_stage(start, batches, plan, tell, folder / f"{name}.ckpt.npz"))
        return dict(np.load(path, allow_pickle=False))

    def _families(self, arrays: Arrays) -> dict[str, dict[str, Any]]:
        """Frame AUC of every family of pseudo-fakes of people that were kept for judging."""
        val = self.collection.val
        logits = self._scores(arrays, val, np.arange(len(val)))
        kinds = np.repeat(val.rows["kind"][1::2], 2)
        found = {}
        for kind in np.unique(kinds):
            own = kinds == kind
            scores, rows = logits[own].astype(np.float64), val.rows[own]
            estimate = auc_estimate(rows["label"].astype(int), scores, rows["group"])
            seen = bool(kind != self.config.pretrain_without)
            found[str(kind)] = {"seen": seen, "frames": int(own.sum()), "auc": str(estimate)}
        return found

    def _scores(self, arrays: Arrays, samples: Samples, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """(rows,) logits by the graph that serves."""
        request = compile_cpu(build_graph(arrays), 2, Precision.AUTO).create_infer_request()
        logits = np.zeros(len(rows), np.float32)
        for start in range(0, len(rows), _BATCH):
            part = rows[start : start + _BATCH]
            request.infer([np.ascontiguousarray(samples.rgb[part])])
            logits[start : start + _BATCH] = request.get_output_tensor(0).data
            self.progress("deep: judging", start / len(rows))
        return logits


def _write(path: Path, arrays: Arrays) -> None:
    draft = path.with_suffix(".draft")
    write_arrays(draft, arrays)
    draft.replace(path)
