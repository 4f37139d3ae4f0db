"""Phase `top`: blocks 13 and 14 with the head, trained once per fold and once on everything.

All networks start from one head, fitted on pseudo-fakes. An interrupted run resumes after its finished networks.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from detector.array_file import MappedArrays
from detector.training.evaluation.loaded_model import START_FILE
from detector.training.phases import top_model, training_loop
from detector.training.phases.head_phase import warm_start
from detector.training.phases.phase_interface import PhaseResult

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from detector.training.phases.phase_interface import Arrays, PhaseInputs

    Floats = NDArray[np.float32]

TRAINED_FILE = "trained.npz"
_CV_STEPS_SHARE = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class TopPhase:
    """One run of the phase."""

    inputs: PhaseInputs

    def fit(self) -> PhaseResult:
        """Trains the fold networks, then the network on everything."""
        inputs, folder = self.inputs, self.inputs.config.run_dir
        base, fold_of = warm_start(inputs), inputs.clip_folds()
        start = {name: array for name, array in base.items() if name.split("|")[0] in top_model.TOP_LAYERS}
        training_loop.write_atomically(folder / START_FILE, start)
        steps = self._steps()
        cv_steps = max(1, round(steps * _CV_STEPS_SHARE))
        logits = np.zeros(len(fold_of), dtype=np.float32)
        for fold in np.unique(fold_of):
            logits[fold_of == fold] = self._held_out(base, fold_of == fold, f"fold-{fold}", cv_steps)
        path = folder / TRAINED_FILE
        if not path.is_file():
            training_loop.write_atomically(path, self._trained(base, np.ones(len(fold_of), np.bool_), "top", steps))
        details = {"steps": steps, "cv_steps": cv_steps, "rate": top_model.LEARNING_RATE}
        return PhaseResult({**inputs.base, **MappedArrays(path).arrays}, logits, details)

    def _steps(self) -> int:
        """Returns the training steps. Swapped clips, where there are any, fill half of every batch."""
        config = self.inputs.config
        parts_per_batch = 2 if len(self.inputs.collection.clips) else 1
        return max(1, config.epochs * config.train_pairs * parts_per_batch // top_model.BATCH_PAIRS)

    def _held_out(self, base: Arrays, held_out: NDArray[np.bool_], name: str, steps: int) -> Floats:
        """Returns the logits of the rows that the network called `name` did not see."""
        folder = self.inputs.config.run_dir
        done = folder / f"{name}.npy"
        if not done.is_file():
            arrays = self._trained(base, ~held_out, name, steps)
            training_loop.write_atomically(folder / f"{name}.npz", arrays)
            np.save(done, top_model.score_top(arrays, self.inputs.features("clips").middle, np.flatnonzero(held_out)))
        logits: Floats = np.load(done)
        return logits

    def _trained(self, base: Arrays, used: NDArray[np.bool_], name: str, steps: int) -> Arrays:
        config = self.inputs.config
        every = np.arange(len(self.inputs.collection.train) // 2)
        parts = [self._part("train", every), self._part("clips", np.flatnonzero(used[::2]))]
        schedule = training_loop.TrainingSchedule(steps, config.seed, config.mask_weight)
        tell = partial(self.inputs.progress, f"top: {name}")
        return top_model.fit_top(base, parts, schedule, tell, config.run_dir / f"{name}.ckpt.npz")

    def _part(self, name: str, pairs: NDArray[np.intp]) -> top_model.FeaturePairs:
        samples = self.inputs.samples(name)
        middle, groups = self.inputs.features(name).middle, samples.rows["group"][::2][pairs]
        return top_model.FeaturePairs(middle, samples.masks, pairs=pairs, groups=groups)
