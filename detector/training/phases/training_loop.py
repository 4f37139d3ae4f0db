"""The training loop that all phases share: AdamW, cosine, moving average, checkpoints that go on to the same curve.

Keras alone, so that TensorFlow, JAX or PyTorch computes it, as `KERAS_BACKEND` says. Needs the `train` extra.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from detector.array_file import write_arrays
from detector.errors import TrainingRefused
from detector.training.data.samples import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from detector.training.data.batches import Batch

CHECKPOINT_STEPS = 25
_WARM_UP_SHARE = 0.1
# Of logits: a live network's is about 1, a dead one's is exactly 0.
_LEAST_SPREAD = 1e-3


@dataclass(frozen=True, slots=True)
class TrainingSchedule:
    """How long, how fast and from which seed; fixed in advance, and nothing that is measured meanwhile ends it earlier.

    `mask_weight` is the share of the auxiliary loss: where a face was replaced, told at the cells of block 13.
    """

    steps: int
    seed: int
    mask_weight: float = 0.0
    rate: float = 1e-4
    save_every: int = CHECKPOINT_STEPS


def fit(
    build: Callable[[], Any],
    batch: Callable[[int], Batch],
    schedule: TrainingSchedule,
    progress: Callable[[float], None],
    checkpoint: Path | None = None,
) -> Any:
    """Train what `build` gives (outputs `head` and, if there is a `mask_weight`, `mask`) on `batch(step)`, step >= 1.

    What comes back has the moving average of its weights. With a `checkpoint` a run that was killed goes on there, to
    the same curve; the loss of every step is in it, too.
    """
    import keras

    # Running numbers in names of layers start anew. The policy of types is forgotten, too, so `build` must not do this.
    keras.backend.clear_session()
    keras.utils.set_random_seed(schedule.seed)
    model = _compiled(build, schedule)
    losses = _resume(model, checkpoint)
    for step in range(len(losses) + 1, schedule.steps + 1):
        losses.append(_step(model, batch(step), bool(schedule.mask_weight)))
        if checkpoint is not None and (step % schedule.save_every == 0 or step == schedule.steps):
            _keep(model, checkpoint, losses)
        progress(step / schedule.steps)
    model.optimizer.finalize_variable_values(model.trainable_variables)
    return model


def _compiled(build: Callable[[], Any], schedule: TrainingSchedule) -> Any:
    import keras

    model = _in_bfloat16(build)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, schedule.steps, warmup_target=schedule.rate, warmup_steps=round(schedule.steps * _WARM_UP_SHARE)
    )
    optimiser = keras.optimizers.AdamW(rate, weight_decay=0.02, global_clipnorm=1.0, use_ema=True, ema_momentum=0.99)
    loss: Any = keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.02)
    if schedule.mask_weight:
        weights = {"head": 1.0, "mask": schedule.mask_weight}
        model.compile(optimiser, {"head": loss, "mask": mask_loss}, loss_weights=weights)
    else:
        model.compile(optimiser, loss)
    optimiser.build(model.trainable_variables)
    return model


def _in_bfloat16(build: Callable[[], Any]) -> Any:
    """What `build` gives, computing in bfloat16 on weights in float32."""
    import keras

    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        return build()
    finally:
        keras.mixed_precision.set_dtype_policy(before)


def mask_loss(wanted: Any, logits: Any) -> Any:
    """Cross-entropy of every cell; those of 255 are not known and cost nothing."""
    import keras

    known = keras.ops.cast(wanted < UNKNOWN, "float32")
    share = keras.ops.cast(wanted, "float32") / (UNKNOWN - 1)
    cell = keras.ops.softplus(logits) - share * logits
    return keras.ops.sum(known * cell) / keras.ops.maximum(keras.ops.sum(known), 1.0)


def _step(model: Any, batch: Batch, with_mask: bool) -> float:
    wanted = {"head": batch.labels, "mask": batch.masks[:, :, :, None]} if with_mask else batch.labels
    losses = model.train_on_batch(batch.inputs, wanted, return_dict=True)
    # Keras would go on to tell the mean of all steps so far.
    model.reset_metrics()
    return float(losses["loss"])


def refuse_collapsed(logits: NDArray[np.floating[Any]]) -> None:
    """Raises TrainingRefused for a network that says the same of every face of a batch."""
    if np.std(logits) < _LEAST_SPREAD:
        raise TrainingRefused("the network collapsed: it says the same of every face")


def write_atomically(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write the file whole or not at all, whenever the process ends."""
    draft = path.with_suffix(".draft")
    write_arrays(draft, arrays)
    draft.replace(path)


def _keep(model: Any, checkpoint: Path, losses: Sequence[float]) -> None:
    arrays = {f"v{place}": variable.numpy() for place, variable in enumerate(_variables(model))}
    write_atomically(checkpoint, {**arrays, "losses": np.array(losses, dtype=np.float64)})


def _resume(model: Any, checkpoint: Path | None) -> list[float]:
    """Losses up to the checkpoint, whose state the model then has; none where there is none."""
    if checkpoint is None or not checkpoint.is_file():
        return []
    with np.load(checkpoint, allow_pickle=False) as kept:
        for place, variable in enumerate(_variables(model)):
            variable.assign(kept[f"v{place}"])
    return read_losses(checkpoint)


def _variables(model: Any) -> list[Any]:
    """Weights, states of random generators, and what the optimiser remembers."""
    return [*model.variables, *model.optimizer.variables]


def read_losses(checkpoint: Path) -> list[float]:
    """The loss of every step that a checkpoint knows of."""
    with np.load(checkpoint, allow_pickle=False) as kept:
        return [float(loss) for loss in kept["losses"]]
