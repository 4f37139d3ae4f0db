"""Phase `deep`: pretraining on pseudo-fakes, then tuning once per fold and once on everything.

Pretraining uses no swapped clip, so all folds may start from it. An interrupted run resumes after its finished
networks.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from detector.training.checkpoints.serving_inference import compute_logits
from detector.training.data.batches import PairBatches
from detector.training.data.datasets import PAIRS
from detector.training.data.tool_folds import family_of, tool_of_groups
from detector.training.evaluation.estimates import auc_estimate
from detector.training.evaluation.loaded_model import START_FILE
from detector.training.phases import deep_model
from detector.training.phases.phase_interface import PhaseResult, zero_head
from detector.training.phases.training_loop import TrainingSchedule, write_atomically

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from detector.training.data.samples import SampleSet
    from detector.training.phases.phase_interface import Arrays, PhaseInputs

# Shares of a tuning batch: pseudo-fakes, swapped clips, pairs of other tools.
_SHARES = (0.5, 0.3, 0.2)
_AVERAGE_BATCHES = 30
# Checkpoints hold the whole state of the optimiser and are large; a step takes a second or two.
_SAVE_EVERY = 50


@dataclass(frozen=True, slots=True, eq=False)
class DeepPhase:
    """One run of the phase."""

    inputs: PhaseInputs

    def fit(self) -> PhaseResult:
        """Trains the pretrained network, the fold networks, and the network on everything."""
        folder, clips = self.inputs.config.run_dir, self.inputs.collection.clips
        fold_of = self.inputs.clip_folds()
        write_atomically(folder / START_FILE, {**self.inputs.base, **zero_head()})
        pretrained = self._pretrained()
        logits = np.zeros(len(clips), np.float32)
        for fold in sorted(set(self.inputs.deal_folds().values())):
            held_out, name = fold_of == fold, f"fold-{fold}"
            arrays = deep_model.to_serving_arrays(self._tuned(pretrained, fold, name))
            write_atomically(folder / f"{name}.npz", arrays)
            logits[held_out] = self._logits(arrays, clips, np.flatnonzero(held_out))
        tuned = self._tuned(pretrained, None, "whole")
        details = self._details(deep_model.to_serving_arrays(pretrained))
        return PhaseResult(deep_model.to_serving_arrays(tuned), logits, details)

    def _pretrained(self) -> Arrays:
        """Returns the weights trained on pseudo-fakes of all families but one, on which the network is then tested."""
        config, train, stage = self.inputs.config, self.inputs.collection.train, deep_model.PRETRAINING
        seen = np.flatnonzero(train.rows["kind"][1::2] != config.pretrain_without)
        batches = PairBatches([deep_model.PicturePairs(train, seen, stage.size_px)], stage.pairs, config.seed)
        return self._trained("pretrained", self.inputs.released, batches, self._plan(stage, config.pretrain_steps))

    def _tuned(self, pretrained: Arrays, fold: int | None, name: str) -> Arrays:
        """Returns the average of `pretrained` and of weights tuned from it, without people and tools of `fold`.

        `fold` None leaves nothing out. A tuning batch holds pseudo-fakes, swapped clips and pairs of other tools.
        """
        config, stage = self.inputs.config, deep_model.TUNING
        batches = PairBatches(self._parts(fold), stage.pairs, config.seed, _SHARES)
        tuned = self._trained(name, pretrained, batches, self._plan(stage, config.tune_steps))
        if config.tuned_share == 1:
            return tuned
        path = config.run_dir / f"{name}.average.npz"
        if not path.is_file():
            # Batches that no training step has used.
            fresh = range(config.tune_steps + 101, config.tune_steps + 101 + min(config.tune_steps, _AVERAGE_BATCHES))
            shown = (batches.batch(step).inputs for step in fresh)
            write_atomically(path, deep_model.average(pretrained, tuned, config.tuned_share, shown))
        with np.load(path, allow_pickle=False) as kept:
            return dict(kept)

    def _parts(self, fold: int | None) -> list[deep_model.PicturePairs]:
        """Returns the sources of a tuning batch, in the order of `_SHARES`."""
        collection, size_px = self.inputs.collection, deep_model.TUNING.size_px
        fold_of = self.inputs.deal_folds()
        every = np.arange(len(collection.train) // 2)
        clips, tools = (
            np.flatnonzero([fold_of[str(group)] != fold for group in some.rows["group"][::2]])
            for some in (collection.clips, collection.tools)
        )
        tool_of = tool_of_groups(collection.tool_clips)
        strata = np.array([tool_of[str(group)] for group in collection.tools.rows["group"][::2][tools]], np.str_)
        return [
            deep_model.PicturePairs(collection.train, every, size_px),
            deep_model.PicturePairs(collection.clips, clips, size_px),
            deep_model.PicturePairs(collection.tools, tools, size_px, strata),
        ]

    def _plan(self, stage: deep_model.Stage, steps: int) -> TrainingSchedule:
        config = self.inputs.config
        return TrainingSchedule(
            steps, config.seed, mask_weight=config.mask_weight, rank_weight=config.rank_weight,
            offset_weight=config.offset_weight, rate=stage.rate, save_every=_SAVE_EVERY,
        )  # fmt: skip

    def _trained(self, name: str, start: Arrays, batches: PairBatches, schedule: TrainingSchedule) -> Arrays:
        """Returns weights under Keras names; reads them from the run folder if an earlier run finished them."""
        folder = self.inputs.config.run_dir
        path = folder / f"{name}.keras.npz"
        if not path.is_file():
            tell = partial(self.inputs.progress, f"deep: {name}")
            write_atomically(path, deep_model.train_stage(start, batches, schedule, tell, folder / f"{name}.ckpt.npz"))
        with np.load(path, allow_pickle=False) as kept:
            return dict(kept)

    def _details(self, pretrained: Arrays) -> dict[str, Any]:
        config, stages = self.inputs.config, (deep_model.PRETRAINING, deep_model.TUNING)
        return {
            "steps": [config.pretrain_steps, config.tune_steps],
            "rate": [stage.rate for stage in stages],
            "size_px": [stage.size_px for stage in stages],
            "tools": sorted({
                family_of(clip.tool) for clip in self.inputs.collection.tool_clips if clip.use == PAIRS
            }),
            "pretrained": self._by_family(pretrained),
        }

    def _by_family(self, arrays: Arrays) -> dict[str, dict[str, Any]]:
        """Returns the frame AUC of every family of pseudo-fakes, on the people kept for validation."""
        val = self.inputs.collection.val
        logits = self._logits(arrays, val, np.arange(len(val))).astype(np.float64)
        kinds = np.repeat(val.rows["kind"][1::2], 2)
        found = {}
        for kind in np.unique(kinds):
            own = kinds == kind
            rows = val.rows[own]
            auc = auc_estimate(rows["label"].astype(int), logits[own], rows["group"])
            seen = bool(kind != self.inputs.config.pretrain_without)
            found[str(kind)] = {"seen": seen, "frames": int(own.sum()), "auc": str(auc)}
        return found

    def _logits(self, arrays: Arrays, samples: SampleSet, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        return compute_logits(arrays, samples.rgb, rows, partial(self.inputs.progress, "deep: scoring"))
