"""What is trained: blocks 13 and 14 with the head, or the head alone, in Keras on features kept on disk.

Normalisation is already folded into the weights, so the layers here carry a bias instead. Needs the `train` extra.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from detector.arrays import write_arrays
from detector.errors import TrainingRefused
from detector.training.samples import UNKNOWN
from detector.xception_graph import FEATURES, HEAD_BIAS, HEAD_KERNEL, MIDDLE_SHAPE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

BATCH_PAIRS = 16
# At twice this rate one run in four died: all features of block 14 went to zero and stayed there.
LEARNING_RATE = 1e-4
_WARM_UP_SHARE = 0.1
_LEAST_SPREAD = 1e-2
_SCORE_BATCH = 64
CHECKPOINT_STEPS = 25
TOP_LAYERS = ("block13_shortcut", "block13_sepconv1", "block13_sepconv2", "block14_sepconv1", "block14_sepconv2")
_WIDTHS = {"block13_sepconv1": 728, "block13_sepconv2": 1024, "block14_sepconv1": 1536, "block14_sepconv2": FEATURES}


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and from which seed; fixed in advance, and nothing that is measured meanwhile ends it earlier.

    `mask_weight` is the share of the auxiliary loss: where a face was replaced, told at the 14 x 14 cells of block 13.
    """

    steps: int
    seed: int
    mask_weight: float = 0.0


def build_top(dropout: float = 0.0, with_mask: bool = False) -> Any:
    """Keras model from (n, 14, 14, 728) to (n, 1) logits, and to (n, 14, 14, 1) logits of the mask if asked for."""
    import keras
    from keras import layers

    def separable(name: str, node: Any) -> Any:
        return layers.SeparableConv2D(_WIDTHS[name], 3, padding="same", name=name)(node)

    start = layers.Input(MIDDLE_SHAPE)
    shortcut = layers.Conv2D(1024, 1, strides=2, name="block13_shortcut")(start)
    node = separable("block13_sepconv1", layers.ReLU()(start))
    node = separable("block13_sepconv2", layers.ReLU()(node))
    place = layers.Conv2D(1, 1, name="mask", dtype="float32")(layers.ReLU()(node)) if with_mask else None
    node = layers.Add()([layers.MaxPooling2D(3, strides=2, padding="same")(node), shortcut])
    node = layers.ReLU()(separable("block14_sepconv1", node))
    node = layers.ReLU()(separable("block14_sepconv2", node))
    pooled = layers.Dropout(dropout)(layers.GlobalAveragePooling2D()(node))
    logit = layers.Dense(1, name="head", dtype="float32")(pooled)
    return keras.Model(start, {"head": logit, "mask": place} if with_mask else logit)


def load_top(model: Any, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Set the trainable layers from our arrays; the head only where they have one."""
    for name in TOP_LAYERS:
        model.get_layer(name).set_weights([_to_keras(arrays[f"{name}|{part}"], part) for part in _parts(name)])
    if HEAD_KERNEL in arrays:
        model.get_layer("head").set_weights([arrays[HEAD_KERNEL].reshape(FEATURES, 1), arrays[HEAD_BIAS]])


def read_top(model: Any) -> dict[str, NDArray[Any]]:
    """Our arrays of the trainable layers and the head."""
    arrays: dict[str, NDArray[Any]] = {}
    for name in TOP_LAYERS:
        for part, weights in zip(_parts(name), model.get_layer(name).get_weights(), strict=True):
            arrays[f"{name}|{part}"] = _from_keras(weights, part)
    kernel, bias = model.get_layer("head").get_weights()
    return {**arrays, HEAD_KERNEL: kernel.astype(np.float32), HEAD_BIAS: bias.astype(np.float32)}


def _parts(name: str) -> tuple[str, ...]:
    return ("kernel", "bias") if "shortcut" in name else ("depthwise_kernel", "pointwise_kernel", "bias")


def _to_keras(array: NDArray[Any], part: str) -> NDArray[np.float32]:
    array = np.asarray(array, dtype=np.float32)
    if part == "bias":
        return array
    return array[:, :, 0].transpose(2, 3, 0, 1) if part == "depthwise_kernel" else array.transpose(2, 3, 1, 0)


def _from_keras(weights: NDArray[np.float32], part: str) -> NDArray[Any]:
    if part == "bias":
        return weights.astype(np.float32)
    array = weights.transpose(2, 3, 0, 1)[:, :, None] if part == "depthwise_kernel" else weights.transpose(3, 2, 0, 1)
    return np.ascontiguousarray(array, dtype=np.float16)


class PairBatches:
    """Batches of whole pairs: rows 2k and 2k + 1 of a part are the real and the fake half of one pair.

    Half of each batch is pseudo-fakes, half swapped footage (where there is any), there every group as often.
    """

    def __init__(self, parts: Sequence[TopPart], pairs: int, seed: int) -> None:
        self._parts = [part for part in parts if len(part.pairs)]
        self._pairs = pairs
        self._seed = seed

    def batch(self, step: int) -> tuple[Floats, Floats, NDArray[np.uint8]]:
        """Middle, labels (n, 1) and masks (n, 14, 14) of one step; the same whatever was drawn before."""
        rng = np.random.default_rng((self._seed, step))
        labels = np.tile(np.array([[0.0], [1.0]], dtype=np.float32), (self._pairs, 1))
        share = self._pairs // len(self._parts)
        counts = [share] * (len(self._parts) - 1) + [self._pairs - share * (len(self._parts) - 1)]
        drawn = [part.draw(rng, count) for part, count in zip(self._parts, counts, strict=True)]
        middle, masks = (np.concatenate(pieces) for pieces in zip(*drawn, strict=True))
        return middle, labels, masks


class TopPart:
    """One source of pairs. `pairs` are numbers k of row pairs that may be used; `groups` their groups.

    `pictures`: what block 13 starts from, float16 (n, 14, 14, 728), and the masks, uint8 (n, 14, 14), 255 if unknown.
    """

    def __init__(
        self, pictures: tuple[NDArray[np.float16], NDArray[np.uint8]], pairs: NDArray[np.intp], groups: NDArray[np.str_]
    ) -> None:
        self.pairs = pairs
        self._middle, self._masks = pictures
        self._by_group = [pairs[groups == group] for group in np.unique(groups)]

    def draw(self, rng: np.random.Generator, count: int) -> tuple[Floats, NDArray[np.uint8]]:
        """(2 * count, 14, 14, 728), real and fake in turn, and their masks."""
        groups = rng.integers(0, len(self._by_group), count)
        picks = [int(rng.choice(self._by_group[group])) for group in groups]
        rows = np.array([(2 * pick, 2 * pick + 1) for pick in picks]).ravel()
        return np.stack([self._middle[row] for row in rows]).astype(np.float32), self._masks[rows]


def fit_top(
    base: Mapping[str, NDArray[Any]],
    parts: Sequence[TopPart],
    plan: Plan,
    progress: Callable[[float], None],
    checkpoint: Path | None = None,
) -> dict[str, NDArray[Any]]:
    """Train blocks 13, 14 and the head from `base`; the moving average of the weights is what comes back.

    With a `checkpoint` a run that was killed goes on there, to the same curve; the loss of every step is in it, too.
    Raises TrainingRefused if what comes back is dead.
    """
    import keras

    keras.utils.set_random_seed(plan.seed)
    model = _compiled(base, plan)
    batches, losses = PairBatches(parts, BATCH_PAIRS, plan.seed), _resume(model, checkpoint)
    for step in range(len(losses) + 1, plan.steps + 1):
        middle, labels, masks = batches.batch(step)
        losses.append(_step(model, middle, labels, masks if plan.mask_weight else None))
        if checkpoint is not None and (step % CHECKPOINT_STEPS == 0 or step == plan.steps):
            _keep(model, checkpoint, losses)
        progress(step / plan.steps)
    model.optimizer.finalize_variable_values(model.trainable_variables)
    trained = read_top(model)
    rows = batches.batch(plan.steps)[0]
    if np.std(_logits(trained, rows)) < _LEAST_SPREAD:
        raise TrainingRefused("the network collapsed: it says the same of every face")
    return trained


def _compiled(base: Mapping[str, NDArray[Any]], plan: Plan) -> Any:
    import keras

    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        model = build_top(dropout=0.2, with_mask=bool(plan.mask_weight))
    finally:
        keras.mixed_precision.set_dtype_policy(before)
    load_top(model, base)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, plan.steps, warmup_target=LEARNING_RATE, warmup_steps=round(plan.steps * _WARM_UP_SHARE)
    )
    optimiser = keras.optimizers.AdamW(rate, weight_decay=0.02, global_clipnorm=1.0, use_ema=True, ema_momentum=0.99)
    loss: Any = keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.02)
    if plan.mask_weight:
        weights = {"head": 1.0, "mask": plan.mask_weight}
        model.compile(optimiser, {"head": loss, "mask": mask_loss}, loss_weights=weights)
    else:
        model.compile(optimiser, loss)
    optimiser.build(model.trainable_variables)
    return model


def mask_loss(wanted: Any, logits: Any) -> Any:
    """Cross-entropy of every cell; those of 255 are not known and cost nothing."""
    import keras

    known = keras.ops.cast(wanted < UNKNOWN, "float32")
    share = keras.ops.cast(wanted, "float32") / (UNKNOWN - 1)
    cell = keras.ops.softplus(logits) - share * logits
    return keras.ops.sum(known * cell) / keras.ops.maximum(keras.ops.sum(known), 1.0)


def _step(model: Any, middle: Floats, labels: Floats, masks: NDArray[np.uint8] | None) -> float:
    wanted = labels if masks is None else {"head": labels, "mask": masks[:, :, :, None]}
    told = model.train_on_batch(middle, wanted, return_dict=True)
    model.reset_metrics()
    return float(told["loss"])


def _variables(model: Any) -> list[Any]:
    """Weights, states of random generators, and what the optimiser remembers."""
    return [*model.variables, *model.optimizer.variables]


def _keep(model: Any, checkpoint: Path, losses: Sequence[float]) -> None:
    arrays = {f"v{place}": np.asarray(variable) for place, variable in enumerate(_variables(model))}
    wide = {name: array if array.dtype.kind in "fiu" else array.astype(np.float32) for name, array in arrays.items()}
    draft = checkpoint.with_suffix(".draft")
    write_arrays(draft, {**wide, "losses": np.array(losses, dtype=np.float64)})
    draft.replace(checkpoint)


def _resume(model: Any, checkpoint: Path | None) -> list[float]:
    """Losses up to the checkpoint, whose state the model then has; none where there is none."""
    if checkpoint is None or not checkpoint.is_file():
        return []
    with np.load(checkpoint, allow_pickle=False) as kept:
        for place, variable in enumerate(_variables(model)):
            variable.assign(kept[f"v{place}"])
        return [float(loss) for loss in kept["losses"]]


def losses_of(checkpoint: Path) -> list[float]:
    """The loss of every step that a checkpoint knows of."""
    with np.load(checkpoint, allow_pickle=False) as kept:
        return [float(loss) for loss in kept["losses"]]


def _logits(arrays: Mapping[str, NDArray[Any]], middle: NDArray[Any]) -> Floats:
    return score_top(arrays, middle, np.arange(len(middle)))


def score_top(arrays: Mapping[str, NDArray[Any]], middle: NDArray[np.float16], rows: NDArray[np.intp]) -> Floats:
    """(n,) logits of the given rows."""
    model = build_top()
    load_top(model, arrays)
    parts = [rows[start : start + _SCORE_BATCH] for start in range(0, len(rows), _SCORE_BATCH)]
    logits = [np.asarray(model(middle[part].astype(np.float32)))[:, 0] for part in parts]
    return np.concatenate(logits) if logits else np.zeros(0, np.float32)
