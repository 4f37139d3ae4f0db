"""Blocks 13 and 14 with the head, in Keras, trained on cached features.

Normalisation is already folded into the weights, so the layers have a bias instead. Needs the `train` extra.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from detector.training.data.batches import PairBatches, PairPicker
from detector.training.phases import training_loop
from detector.xception_openvino import FEATURES, HEAD_BIAS, HEAD_KERNEL, MIDDLE_SHAPE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from detector.training.phases.training_loop import TrainingSchedule

    Floats = NDArray[np.float32]

BATCH_PAIRS = 16
# At twice this rate one run in four collapsed: all features of block 14 became zero.
LEARNING_RATE = 1e-4
_SCORE_BATCH = 64
TOP_LAYERS = ("block13_shortcut", "block13_sepconv1", "block13_sepconv2", "block14_sepconv1", "block14_sepconv2")
_WIDTHS = {"block13_sepconv1": 728, "block13_sepconv2": 1024, "block14_sepconv1": 1536, "block14_sepconv2": FEATURES}


def build_top(dropout: float = 0.0, with_mask: bool = False) -> Any:
    """Builds the Keras model from (n, 14, 14, 728) to logits (n, 1) and, with the mask, its logits (n, 14, 14, 1)."""
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
    """Sets the trainable layers from stored arrays; the head only where the arrays have one."""
    for name in TOP_LAYERS:
        model.get_layer(name).set_weights([_to_keras(arrays[f"{name}|{part}"], part) for part in _parts(name)])
    if HEAD_KERNEL in arrays:
        model.get_layer("head").set_weights([arrays[HEAD_KERNEL].reshape(FEATURES, 1), arrays[HEAD_BIAS]])


def read_top(model: Any) -> dict[str, NDArray[Any]]:
    """Returns the stored arrays of the trainable layers and the head."""
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


class FeaturePairs:
    """Pairs of cached features as a `PairSource`.

    `middle` is the input of block 13, float16 (n, 14, 14, 728); `masks` is uint8 (n, 14, 14), 255 where unknown.
    `pairs` are the indices k of the row pairs that may be used, `groups` their groups.
    """

    def __init__(
        self,
        middle: NDArray[np.float16],
        masks: NDArray[np.uint8],
        *,
        pairs: NDArray[np.intp],
        groups: NDArray[np.str_],
    ) -> None:
        self._middle, self._masks = middle, masks
        self._picker = PairPicker(pairs, groups)

    def __len__(self) -> int:
        return len(self._picker)

    def draw(self, rng: np.random.Generator, count: int) -> tuple[Floats, NDArray[np.uint8]]:
        """Returns float32 (2 * count, 14, 14, 728), real and fake in turn, and their masks."""
        rows = np.array([(2 * pair, 2 * pair + 1) for pair in self._picker.pick(rng, count)]).ravel()
        return np.stack([self._middle[row] for row in rows]).astype(np.float32), self._masks[rows]


def fit_top(
    base: Mapping[str, NDArray[Any]],
    parts: Sequence[FeaturePairs],
    schedule: TrainingSchedule,
    progress: Callable[[float], None],
    checkpoint: Path | None = None,
) -> dict[str, NDArray[Any]]:
    """Trains blocks 13, 14 and the head from `base`; returns the moving average of the weights.

    With a `checkpoint`, an interrupted run resumes and gives the same loss curve. Raises TrainingRefused if the network
    collapsed.
    """
    batches = PairBatches(parts, BATCH_PAIRS, schedule.seed)
    model = training_loop.fit(lambda: _start(base, schedule), batches.batch, schedule, progress, checkpoint)
    trained = read_top(model)
    middle = batches.batch(schedule.steps).inputs
    training_loop.refuse_collapsed(score_top(trained, middle, np.arange(len(middle))))
    return trained


def _start(base: Mapping[str, NDArray[Any]], schedule: TrainingSchedule) -> Any:
    model = build_top(dropout=0.2, with_mask=bool(schedule.mask_weight))
    load_top(model, base)
    return model


def score_top(arrays: Mapping[str, NDArray[Any]], middle: NDArray[np.float16], rows: NDArray[np.intp]) -> Floats:
    """Returns the logits (n,) of the given rows."""
    import keras

    model = build_top()
    load_top(model, arrays)
    parts = [rows[start : start + _SCORE_BATCH] for start in range(0, len(rows), _SCORE_BATCH)]
    logits = [keras.ops.convert_to_numpy(model(middle[part].astype(np.float32)))[:, 0] for part in parts]
    return np.concatenate(logits) if logits else np.zeros(0, np.float32)
