"""Phase `deep` from samples to networks: once on pseudo-fakes, then from there once per fold and once on everything.

No swapped clip takes part in the first stage, so all folds may start from it. What an interrupted run has finished is
not done again.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from detector.training.checkpoints.served_logits import served_logits
from detector.training.data.batches import PairBatches
from detector.training.evaluation.estimates import auc_estimate
from detector.training.evaluation.loaded_model import START_FILE
from detector.training.phases import deep_model
from detector.training.phases.phase_inputs import Fitted, silent_head
from detector.training.phases.training_loop import Plan, keep_arrays

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from detector.training.data.samples import Samples
    from detector.training.phases.phase_inputs import Arrays, Material

# Full checkpoints of the optimiser are large, and a step takes a second or two.
_SAVE_EVERY = 100


@dataclass(frozen=True, slots=True, eq=False)
class DeepRun:
    """What one run trains on."""

    material: Material

    def fit(self) -> Fitted:
        folder, clips = self.material.config.run_dir, self.material.collection.clips
        fold_of = self.material.deal_folds()
        keep_arrays(folder / START_FILE, {**self.material.base, **silent_head()})
        pretrained = self._pretrained()
        logits = np.zeros(len(clips), np.float32)
        for fold in np.unique(fold_of):
            held_out, name = fold_of == fold, f"fold-{fold}"
            arrays = deep_model.served(self._tuned(pretrained, ~held_out, name))
            keep_arrays(folder / f"{name}.npz", arrays)
            logits[held_out] = self._logits(arrays, clips, np.flatnonzero(held_out))
        tuned = self._tuned(pretrained, np.ones(len(clips), np.bool_), "whole")
        return Fitted(deep_model.served(tuned), logits, self._details(deep_model.served(pretrained)))

    def _pretrained(self) -> Arrays:
        """Trained on pseudo-fakes of all families but one, which shows what a family that nobody saw is worth."""
        config, train, stage = self.material.config, self.material.collection.train, deep_model.PRETRAINING
        seen = np.flatnonzero(train.rows["kind"][1::2] != config.pretrain_without)
        batches = PairBatches([deep_model.PicturePart(train, seen, stage.size_px)], stage.pairs, config.seed)
        return self._trained("pretrained", self.material.released, batches, self._plan(stage, config.pretrain_steps))

    def _tuned(self, pretrained: Arrays, used: NDArray[np.bool_], name: str) -> Arrays:
        """Trained on from there on all pseudo-fakes and the clips whose rows are `used`."""
        config, collection, stage = self.material.config, self.material.collection, deep_model.TUNING
        every = np.arange(len(collection.train) // 2)
        parts = [
            deep_model.PicturePart(collection.train, every, stage.size_px),
            deep_model.PicturePart(collection.clips, np.flatnonzero(used[::2]), stage.size_px),
        ]
        batches = PairBatches(parts, stage.pairs, config.seed)
        return self._trained(name, pretrained, batches, self._plan(stage, config.tune_steps))

    def _plan(self, stage: deep_model.Stage, steps: int) -> Plan:
        config = self.material.config
        return Plan(steps, config.seed, config.mask_weight, stage.rate, _SAVE_EVERY)

    def _trained(self, name: str, start: Arrays, batches: PairBatches, plan: Plan) -> Arrays:
        """Weights as Keras names them; those that an earlier run of the same settings left are taken."""
        folder = self.material.config.run_dir
        path = folder / f"{name}.keras.npz"
        if not path.is_file():
            tell = partial(self.material.progress, f"deep: {name}")
            keep_arrays(path, deep_model.train_stage(start, batches, plan, tell, folder / f"{name}.ckpt.npz"))
        with np.load(path, allow_pickle=False) as kept:
            return dict(kept)

    def _details(self, pretrained: Arrays) -> dict[str, Any]:
        config, stages = self.material.config, (deep_model.PRETRAINING, deep_model.TUNING)
        return {
            "steps": [config.pretrain_steps, config.tune_steps],
            "rate": [stage.rate for stage in stages],
            "size_px": [stage.size_px for stage in stages],
            "pretrained": self._by_family(pretrained),
        }

    def _by_family(self, arrays: Arrays) -> dict[str, dict[str, Any]]:
        """Frame AUC of every family of pseudo-fakes of people that were kept for judging."""
        val = self.material.collection.val
        logits = self._logits(arrays, val, np.arange(len(val))).astype(np.float64)
        kinds = np.repeat(val.rows["kind"][1::2], 2)
        found = {}
        for kind in np.unique(kinds):
            own = kinds == kind
            rows = val.rows[own]
            auc = auc_estimate(rows["label"].astype(int), logits[own], rows["group"])
            seen = bool(kind != self.material.config.pretrain_without)
            found[str(kind)] = {"seen": seen, "frames": int(own.sum()), "auc": str(auc)}
        return found

    def _logits(self, arrays: Arrays, samples: Samples, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        return served_logits(arrays, samples.rgb, rows, partial(self.material.progress, "deep: judging"))
