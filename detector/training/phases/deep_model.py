"""Network of phase `deep`: blocks 4 to 14 with their normalisations, trained on pixels; blocks 1 to 3 stay frozen.

Weights have their Keras names, `LAYER|WEIGHT`. Needs the `train` extra.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from detector.training.data.augmentation import draw_augmentation
from detector.training.data.batches import PairBatches, PairPicker
from detector.training.phases.training_loop import TrainingSchedule, fit, refuse_collapsed
from detector.xception_keras import convolution_names, fold_normalisation
from detector.xception_openvino import HEAD_BIAS, HEAD_KERNEL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from detector.training.data.samples import SampleSet

    Weights = Mapping[str, NDArray[Any]]
    Pictures = NDArray[np.uint8]

_FROZEN_BLOCKS = ("block1_", "block2_", "block3_")
FROZEN_LAYERS = frozenset(
    layer for ours, *of_keras in convolution_names() if ours.startswith(_FROZEN_BLOCKS) for layer in of_keras
)
_DROPOUT = 0.2
# At a momentum of .9, 30 batches leave 4 % of the statistics before them.
_STATISTICS_BATCHES = 30
_STATISTICS_MOMENTUM = 0.9


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of training: input side in pixels, pairs per batch, and highest learning rate."""

    size_px: int
    pairs: int
    rate: float


# Both stages use the serving size: smaller pictures first train faster but generalise less well to other tools.
PRETRAINING = Stage(224, 16, 3e-4)
TUNING = Stage(224, 16, 1e-4)


class PicturePairs:
    """One source of pairs: rows 2k and 2k + 1 of `samples` for every k in `pairs`, shown at `size_px`.

    `strata`, one per pair in `pairs`, are drawn with equal probability; without them, groups are.
    """

    def __init__(
        self, samples: SampleSet, pairs: NDArray[np.intp], size_px: int, strata: NDArray[np.str_] | None = None
    ) -> None:
        self._samples = samples
        self._picker = PairPicker(pairs, samples.rows["group"][::2][pairs] if strata is None else strata)
        self._size_px = size_px

    def __len__(self) -> int:
        return len(self._picker)

    def draw(self, rng: np.random.Generator, count: int) -> tuple[Pictures, Pictures]:
        """Returns uint8 (2 * count, size, size, 3) RGB and masks (2 * count, cells, cells).

        Real and fake alternate; both halves of a pair get the same augmentation.
        """
        pixels, masks = [], []
        for pair in self._picker.pick(rng, count):
            augmentation = draw_augmentation(rng, self._samples.rgb.shape[1])
            for row in (2 * pair, 2 * pair + 1):
                pixels.append(augmentation.apply(self._samples.rgb[row], self._size_px))
                masks.append(augmentation.apply_to_mask(self._samples.masks[row], self._size_px))
        return np.stack(pixels), np.stack(masks)


def train_stage(
    weights: Weights,
    batches: PairBatches,
    schedule: TrainingSchedule,
    progress: Callable[[float], None],
    checkpoint: Path | None = None,
) -> dict[str, NDArray[Any]]:
    """Trains from `weights`; returns the moving average of the weights, with its own normalisation statistics.

    With a `checkpoint`, an interrupted run resumes and gives the same loss curve. Raises TrainingRefused if the network
    collapsed.
    """
    import keras

    model = fit(lambda: build_network(weights), batches.batch, schedule, progress, checkpoint)
    fresh = range(schedule.steps + 1, schedule.steps + 1 + min(schedule.steps, _STATISTICS_BATCHES))
    # The moving average has other activations than the weights that the statistics were gathered with.
    gather_statistics(model, (batches.batch(step).inputs for step in fresh))
    logits = model(batches.batch(schedule.steps).inputs, training=False)["head"]
    refuse_collapsed(keras.ops.convert_to_numpy(logits))
    return weights_of(model)


def average(
    one: Weights, other: Weights, share: float, batches: Iterable[Pictures]
) -> dict[str, NDArray[Any]]:
    """Returns `(1 - share) * one + share * other`, with normalisation statistics gathered anew on `batches`.

    `other` must be trained from `one`: the average of unrelated networks has no meaning.
    """
    import keras

    mixed = {
        name: ((1 - share) * values + share * other[name]).astype(values.dtype) if values.dtype.kind == "f" else values
        for name, values in one.items()
    }
    keras.backend.clear_session()
    model = build_network(mixed)
    gather_statistics(model, batches)
    return weights_of(model)


def build_network(weights: Weights) -> Any:
    """Builds the Keras model from uint8 (n, s, s, 3) RGB to logits `head` (n, 1) and `mask` (n, s / 16, s / 16, 1).

    Layers that `weights` lacks start at random. Call `keras.backend.clear_session()` before, so that layer names match.
    """
    import keras
    from keras import layers

    pixels = layers.Input((None, None, 3), dtype="uint8")
    node = layers.Rescaling(1 / 127.5, offset=-1.0, dtype="float32")(pixels)
    backbone = keras.applications.Xception(weights=None, include_top=False, pooling="avg", input_tensor=node)
    pooled = layers.Dropout(_DROPOUT)(backbone.output)
    logit = layers.Dense(1, name="head", dtype="float32")(pooled)
    place = layers.ReLU()(backbone.get_layer("block13_sepconv2_bn").output)
    mask = layers.Conv2D(1, 1, name="mask", dtype="float32")(place)
    model = keras.Model(pixels, {"head": logit, "mask": mask})
    for layer in model.layers:
        layer.trainable = layer.name not in FROZEN_LAYERS
        known = [weights.get(f"{layer.name}|{variable.name}") for variable in layer.weights]
        if known and all(values is not None for values in known):
            layer.set_weights([np.asarray(values, np.float32) for values in known])
    return model


def gather_statistics(model: Any, batches: Iterable[Pictures]) -> None:
    """Sets mean and variance of the trained normalisations to those of these batches."""
    import keras

    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = _STATISTICS_MOMENTUM
    for pixels in batches:
        model(pixels, training=True)


def weights_of(model: Any) -> dict[str, NDArray[Any]]:
    """Returns all weights of the model, named `LAYER|WEIGHT`."""
    return {
        f"{layer.name}|{variable.name}": variable.numpy()
        for layer in model.layers for variable in layer.weights
    }  # fmt: skip


def to_serving_arrays(weights: Weights) -> dict[str, NDArray[Any]]:
    """Returns the stored arrays of such weights, normalisations folded in."""
    head = {key: np.asarray(weights[key], np.float32) for key in (HEAD_KERNEL, HEAD_BIAS)}
    return {**fold_normalisation(weights), **head}
