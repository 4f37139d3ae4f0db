"""What is trained: blocks 13 and 14 with the head, or the head alone, in Keras on features kept on disk.

Normalisation is already folded into the weights, so the layers here carry a bias instead. Needs the `train` extra.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from detector.errors import TrainingRefused
from detector.xception_graph import FEATURES, HEAD_BIAS, HEAD_KERNEL, MIDDLE_SHAPE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

BATCH_PAIRS = 16
# At twice this rate one run in four died: all features of block 14 went to zero and stayed there.
LEARNING_RATE = 1e-4
_WARM_UP_SHARE = 0.1
_LEAST_SPREAD = 1e-2
_SCORE_BATCH = 64
TOP_LAYERS = ("block13_shortcut", "block13_sepconv1", "block13_sepconv2", "block14_sepconv1", "block14_sepconv2")
_WIDTHS = {"block13_sepconv1": 728, "block13_sepconv2": 1024, "block14_sepconv1": 1536, "block14_sepconv2": FEATURES}


def build_top(dropout: float = 0.0) -> Any:
    """Keras model from (n, 14, 14, 728) to (n, 1) logits."""
    import keras
    from keras import layers

    def separable(name: str, node: Any) -> Any:
        return layers.SeparableConv2D(_WIDTHS[name], 3, padding="same", name=name)(node)

    start = layers.Input(MIDDLE_SHAPE)
    shortcut = layers.Conv2D(1024, 1, strides=2, name="block13_shortcut")(start)
    node = separable("block13_sepconv1", layers.ReLU()(start))
    node = separable("block13_sepconv2", layers.ReLU()(node))
    node = layers.Add()([layers.MaxPooling2D(3, strides=2, padding="same")(node), shortcut])
    node = layers.ReLU()(separable("block14_sepconv1", node))
    node = layers.ReLU()(separable("block14_sepconv2", node))
    pooled = layers.Dropout(dropout)(layers.GlobalAveragePooling2D()(node))
    return keras.Model(start, layers.Dense(1, name="head", dtype="float32")(pooled))


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
    """Endless batches of whole pairs: rows 2k and 2k + 1 of a part are the real and the fake half of one pair.

    Half of each batch is pseudo-fakes, half swapped footage (where there is any), there every group as often.
    """

    def __init__(self, parts: Sequence[TopPart], pairs: int, seed: int) -> None:
        self._parts = [part for part in parts if len(part.pairs)]
        self._pairs = pairs
        self._rng = np.random.default_rng(seed)

    def __iter__(self) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        labels = np.tile(np.array([[0.0], [1.0]], dtype=np.float32), (self._pairs, 1))
        while True:
            share = self._pairs // len(self._parts)
            counts = [share] * (len(self._parts) - 1) + [self._pairs - share * (len(self._parts) - 1)]
            drawn = [part.draw(self._rng, count) for part, count in zip(self._parts, counts, strict=True)]
            yield np.concatenate(drawn), labels


class TopPart:
    """One source of pairs. `pairs` are numbers k of row pairs that may be used; `groups` their groups."""

    def __init__(self, middle: NDArray[np.float16], pairs: NDArray[np.intp], groups: NDArray[np.str_]) -> None:
        self.pairs = pairs
        self._middle = middle
        self._by_group = [pairs[groups == group] for group in np.unique(groups)]

    def draw(self, rng: np.random.Generator, count: int) -> NDArray[np.float32]:
        """(2 * count, 14, 14, 728), real and fake in turn."""
        groups = rng.integers(0, len(self._by_group), count)
        picks = [int(rng.choice(self._by_group[group])) for group in groups]
        rows = np.array([(2 * pick, 2 * pick + 1) for pick in picks]).ravel()
        return np.stack([self._middle[row] for row in rows]).astype(np.float32)


def fit_top(
    base: Mapping[str, NDArray[Any]], parts: Sequence[TopPart], steps: int, seed: int, progress: Callable[[float], None]
) -> dict[str, NDArray[Any]]:
    """Train blocks 13, 14 and the head from `base`; the moving average of the weights is what comes back.

    Raises TrainingRefused if what comes back is dead.
    """
    import keras

    keras.utils.set_random_seed(seed)
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        model = build_top(dropout=0.2)
    finally:
        keras.mixed_precision.set_dtype_policy(before)
    load_top(model, base)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps, warmup_target=LEARNING_RATE, warmup_steps=round(steps * _WARM_UP_SHARE)
    )
    optimiser = keras.optimizers.AdamW(rate, weight_decay=0.02, global_clipnorm=1.0, use_ema=True, ema_momentum=0.99)
    model.compile(optimizer=optimiser, loss=keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.02))
    for step, (middle, labels) in enumerate(PairBatches(parts, BATCH_PAIRS, seed), 1):
        model.train_on_batch(middle, labels)
        progress(step / steps)
        if step >= steps:
            break
    optimiser.finalize_variable_values(model.trainable_variables)
    if np.std(np.asarray(model(middle))) < _LEAST_SPREAD:
        raise TrainingRefused("the network collapsed: it says the same of every face")
    return read_top(model)


def score_top(arrays: Mapping[str, NDArray[Any]], middle: NDArray[np.float16], rows: NDArray[np.intp]) -> Floats:
    """(n,) logits of the given rows."""
    model = build_top()
    load_top(model, arrays)
    parts = [rows[start : start + _SCORE_BATCH] for start in range(0, len(rows), _SCORE_BATCH)]
    logits = [np.asarray(model(middle[part].astype(np.float32)))[:, 0] for part in parts]
    return np.concatenate(logits) if logits else np.zeros(0, np.float32)
