"""Training loop of all phases: AdamW, cosine decay, moving average of the weights, exact checkpoints.

It uses Keras alone, so `KERAS_BACKEND` selects TensorFlow, JAX or PyTorch. Needs the `train` extra.
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
# Standard deviation of the logits of a batch: about 1 for a working network, exactly 0 for a collapsed one.
_MIN_LOGIT_SD = 1e-3


@dataclass(frozen=True, slots=True)
class TrainingSchedule:
    """Steps, seed and learning rate of a training, fixed in advance: there is no early stopping.

    `mask_weight` is the weight of the auxiliary loss on the mask of the replaced area, at the cells of block 13.
    `rank_weight` is that of `ranking_loss`, `offset_weight` that of `offset_penalty`; both need whole pairs, real and
    fake half in turn. `rate` is the highest learning rate. A checkpoint is written every `save_every` steps.
    """

    steps: int
    seed: int
    mask_weight: float = 0.0
    rank_weight: float = 0.0
    offset_weight: float = 0.0
    rate: float = 1e-4
    save_every: int = CHECKPOINT_STEPS


def fit(
    build: Callable[[], Any],
    batch: Callable[[int], Batch],
    schedule: TrainingSchedule,
    progress: Callable[[float], None],
    checkpoint: Path | None = None,
) -> Any:
    """Trains the model that `build` returns on `batch(step)`, step >= 1, and returns it.

    Its outputs are `head` and, with a `mask_weight`, `mask`. The returned model has the moving average of the weights.
    With a `checkpoint`, an interrupted run resumes and gives the same loss curve; the file holds the losses too.
    """
    import keras

    # Restarts the running numbers in layer names. It also resets the dtype policy, so `build` must not call it.
    keras.backend.clear_session()
    keras.utils.set_random_seed(schedule.seed)
    model = _compiled(build, schedule)
    losses = _resume(model, checkpoint)
    for step in range(len(losses) + 1, schedule.steps + 1):
        losses.append(_step(model, batch(step), bool(schedule.mask_weight)))
        if checkpoint is not None and (step % schedule.save_every == 0 or step == schedule.steps):
            _save(model, checkpoint, losses)
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
    loss = _head_loss(schedule)
    if schedule.mask_weight:
        weights = {"head": 1.0, "mask": schedule.mask_weight}
        model.compile(optimiser, {"head": loss, "mask": mask_loss}, loss_weights=weights)
    else:
        model.compile(optimiser, loss)
    optimiser.build(model.trainable_variables)
    return model


def _head_loss(schedule: TrainingSchedule) -> Any:
    """Returns the cross-entropy with label smoothing, plus the weighted losses between the rows of a batch."""
    import keras

    entropy = keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.02)
    if not schedule.rank_weight and not schedule.offset_weight:
        return entropy

    def loss(wanted: Any, logits: Any) -> Any:
        between = schedule.rank_weight * ranking_loss(logits) + schedule.offset_weight * offset_penalty(logits)
        return entropy(wanted, logits) + between

    return loss


def ranking_loss(logits: Any) -> Any:
    """Returns the mean of log(1 + exp(real - fake)) over pairs. `logits` is (2 n, 1), real and fake half in turn."""
    import keras

    return keras.ops.mean(keras.ops.softplus(logits[0::2] - logits[1::2]))


def offset_penalty(logits: Any) -> Any:
    """Returns the variance of the real halves' logits, over people and sources. `logits` is (2 n, 1)."""
    import keras

    return keras.ops.var(logits[0::2])


def _in_bfloat16(build: Callable[[], Any]) -> Any:
    """Returns the model that `build` returns, computing in bfloat16 with weights in float32."""
    import keras

    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        return build()
    finally:
        keras.mixed_precision.set_dtype_policy(before)


def mask_loss(wanted: Any, logits: Any) -> Any:
    """Returns the mean cross-entropy of the cells; cells of 255 are unknown and do not count."""
    import keras

    known = keras.ops.cast(wanted < UNKNOWN, "float32")
    share = keras.ops.cast(wanted, "float32") / (UNKNOWN - 1)
    cell = keras.ops.softplus(logits) - share * logits
    return keras.ops.sum(known * cell) / keras.ops.maximum(keras.ops.sum(known), 1.0)


def _step(model: Any, batch: Batch, with_mask: bool) -> float:
    wanted = {"head": batch.labels, "mask": batch.masks[:, :, :, None]} if with_mask else batch.labels
    losses = model.train_on_batch(batch.inputs, wanted, return_dict=True)
    # Otherwise Keras returns the mean over all steps so far.
    model.reset_metrics()
    return float(losses["loss"])


def refuse_collapsed(logits: NDArray[np.floating[Any]]) -> None:
    """Raises TrainingRefused for a network that gives the same logit for every face of a batch."""
    if np.std(logits) < _MIN_LOGIT_SD:
        raise TrainingRefused("the network collapsed: it gives the same logit for every face")


def write_atomically(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Writes an array file atomically: it is complete or absent, even if the process is killed."""
    draft = path.with_suffix(".draft")
    write_arrays(draft, arrays)
    draft.replace(path)


def _save(model: Any, checkpoint: Path, losses: Sequence[float]) -> None:
    arrays = {f"v{place}": variable.numpy() for place, variable in enumerate(_variables(model))}
    write_atomically(checkpoint, {**arrays, "losses": np.array(losses, dtype=np.float64)})


def _resume(model: Any, checkpoint: Path | None) -> list[float]:
    """Restores the state of the checkpoint and returns its losses; returns none without a checkpoint."""
    if checkpoint is None or not checkpoint.is_file():
        return []
    with np.load(checkpoint, allow_pickle=False) as kept:
        for place, variable in enumerate(_variables(model)):
            variable.assign(kept[f"v{place}"])
    return read_losses(checkpoint)


def _variables(model: Any) -> list[Any]:
    """Returns weights, states of random generators, and state of the optimiser."""
    return [*model.variables, *model.optimizer.variables]


def read_losses(checkpoint: Path) -> list[float]:
    """Returns the loss of every step in a checkpoint."""
    with np.load(checkpoint, allow_pickle=False) as kept:
        return [float(loss) for loss in kept["losses"]]
