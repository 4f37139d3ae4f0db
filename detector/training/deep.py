"""Phase `deep`: blocks 4 to 14 with their normalisations, trained on pixels.

Blocks 1 to 3 stay as ImageNet left them. Pairs stay in one batch, changed alike. Needs the `train` extra.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from detector.training.loop import Batch, Plan, fit
from detector.training.samples import MASK_SIDE, UNKNOWN
from detector.xception import fold
from detector.xception_graph import HEAD_BIAS, HEAD_KERNEL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from detector.training.samples import Samples

    Weights = Mapping[str, NDArray[Any]]
    Pictures = NDArray[np.uint8]

_FROZEN = (
    "block1_", "block2_", "block3_", "conv2d", "conv2d_1", "batch_normalization", "batch_normalization_1",
)  # fmt: skip
_DROPOUT = 0.2
_STATISTICS_BATCHES = 30
_STATISTICS_MOMENTUM = 0.9
_CELL_PX = 16
_SERVED_VIEW_SHARE = 0.4


@dataclass(frozen=True, slots=True)
class Stage:
    """`size_px`: side of what the network takes; `pairs` of one batch; `rate`: the highest learning rate."""

    size_px: int
    pairs: int
    rate: float

    def plan(self, steps: int, seed: int, mask_weight: float) -> Plan:
        return Plan(steps, seed, mask_weight, self.rate, save_every=100)


# Small pictures first: twice as many a minute. What is served takes 224 px.
PRETRAINING = Stage(160, 16, 3e-4)
TUNING = Stage(224, 12, 2e-4)


class PicturePart:
    """One source of pairs: rows 2k and 2k + 1 of `samples` for every k in `pairs`; every group is drawn as often."""

    def __init__(self, samples: Samples, pairs: NDArray[np.intp]) -> None:
        self._samples = samples
        groups = samples.rows["group"][::2][pairs]
        self._by_group = [pairs[groups == group] for group in np.unique(groups)]

    def __len__(self) -> int:
        return len(self._by_group)

    def draw(self, rng: np.random.Generator, count: int, size_px: int) -> tuple[Pictures, Pictures]:
        """(2 * count, size, size, 3), real and fake in turn, and masks (2 * count, cells, cells)."""
        pixels, masks = [], []
        for group in rng.integers(0, len(self._by_group), count):
            pick = int(rng.choice(self._by_group[group]))
            view = draw_view(rng, self._samples.rgb.shape[1])
            for row in (2 * pick, 2 * pick + 1):
                pixels.append(view.picture(self._samples.rgb[row], size_px))
                masks.append(view.cells(self._samples.masks[row], size_px))
        return np.stack(pixels), np.stack(masks)


@dataclass(frozen=True, slots=True)
class View:
    """How both pictures of a pair are changed: a square out of them, mirrored, other light, a part hidden, JPEG."""

    left: int
    top: int
    side: int
    mirror: bool
    gain: float
    offset: float
    hidden: tuple[float, float, float, float] | None
    jpeg_quality: int | None

    def picture(self, rgb: Pictures, size_px: int) -> Pictures:
        """uint8 (size, size, 3) RGB of a square picture."""
        square = self._square(rgb)
        shrinks = size_px < self.side
        if size_px != self.side:
            how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            square = np.asarray(cv2.resize(square, (size_px, size_px), interpolation=how), np.uint8)
        if self.jpeg_quality is not None:
            _, content = cv2.imencode(".jpg", square, [cv2.IMWRITE_JPEG_QUALITY, self.jpeg_quality])
            square = np.asarray(cv2.imdecode(content, cv2.IMREAD_COLOR), np.uint8)
        lit = square.astype(np.float32) * np.float32(self.gain) + np.float32(self.offset)
        made: Pictures = np.rint(lit).clip(0, 255).astype(np.uint8)
        if self.hidden is not None:
            left, top, right, bottom = (round(share * size_px) for share in self.hidden)
            made[top:bottom, left:right] = 128
        return made

    def cells(self, mask: Pictures, size_px: int) -> Pictures:
        """uint8 (cells, cells) of a mask; one that is not known stays so, and what is hidden shows no fake."""
        count = -(-size_px // _CELL_PX)
        if mask[0, 0] == UNKNOWN:
            return np.full((count, count), UNKNOWN, np.uint8)
        wide = cv2.resize(mask, (_CELL_PX * MASK_SIDE,) * 2, interpolation=cv2.INTER_LINEAR)
        square = np.ascontiguousarray(self._square(np.asarray(wide, np.uint8)))
        if self.hidden is not None:
            left, top, right, bottom = (round(share * self.side) for share in self.hidden)
            square[top:bottom, left:right] = 0
        return np.asarray(cv2.resize(square, (count, count), interpolation=cv2.INTER_AREA), np.uint8)

    def _square(self, picture: Pictures) -> Pictures:
        square = picture[self.top : self.top + self.side, self.left : self.left + self.side]
        mirrored = square[:, ::-1] if self.mirror else square
        return np.asarray(np.ascontiguousarray(mirrored), np.uint8)


def draw_view(rng: np.random.Generator, native_px: int) -> View:
    """A random view of pictures of this side; now and then the whole picture as it will be served."""
    side = native_px if rng.random() < _SERVED_VIEW_SHARE else int(rng.integers(round(0.86 * native_px), native_px + 1))
    left, top = (int(rng.integers(0, native_px - side + 1)) for _ in range(2))
    is_lit = rng.random() < 0.5
    hidden = None
    if rng.random() < 0.2:
        (x, y), (width, height) = rng.uniform(0.0, 0.7, 2), rng.uniform(0.2, 0.45, 2)
        hidden = (float(x), float(y), float(min(x + width, 1.0)), float(min(y + height, 1.0)))
    return View(
        left, top, side,
        mirror=bool(rng.random() < 0.5),
        gain=float(rng.uniform(0.85, 1.15)) if is_lit else 1.0,
        offset=float(rng.uniform(-15, 15)) if is_lit else 0.0,
        hidden=hidden,
        jpeg_quality=int(rng.integers(40, 96)) if rng.random() < 0.2 else None,
    )  # fmt: skip


class PictureBatches:
    """Batches of whole pairs, as many of each part."""

    def __init__(self, parts: Sequence[PicturePart], stage: Stage, seed: int) -> None:
        self._parts = [part for part in parts if len(part)]
        self._stage, self._seed = stage, seed

    def batch(self, step: int) -> Batch:
        """Pictures (n, size, size, 3), labels and masks of one step; the same whatever was drawn before."""
        rng = np.random.default_rng((self._seed, step))
        share, pairs = self._stage.pairs // len(self._parts), self._stage.pairs
        counts = [share] * (len(self._parts) - 1) + [pairs - share * (len(self._parts) - 1)]
        drawn = [part.draw(rng, count, self._stage.size_px) for part, count in zip(self._parts, counts, strict=True)]
        pixels, masks = (np.concatenate(pieces) for pieces in zip(*drawn, strict=True))
        return Batch(pixels, np.tile(np.array([[0.0], [1.0]], np.float32), (pairs, 1)), masks)


def train_stage(
    weights: Weights,
    batches: PictureBatches,
    plan: Plan,
    progress: Callable[[float], None],
    checkpoint: Path | None = None,
) -> dict[str, NDArray[Any]]:
    """Train from `weights` (as Keras names them, `LAYER|WEIGHT`); the trained ones, with statistics of their own.

    With a `checkpoint` a run that was killed goes on there, to the same curve.
    """
    model = fit(lambda: _network(weights), batches.batch, plan, progress, checkpoint)
    # The moving average has other activations than the weights that the statistics were gathered with.
    _restate(model, [batches.batch(plan.steps + 1 + index).inputs for index in range(_STATISTICS_BATCHES)])
    return _weights_of(model)


def _network(weights: Weights) -> Any:
    """Keras model from uint8 (n, s, s, 3) RGB to logits `head` (n, 1) and `mask` (n, s / 16, s / 16, 1)."""
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
        if layer.name.startswith(_FROZEN[:3]) or layer.name in _FROZEN:
            layer.trainable = False
        known = [weights.get(f"{layer.name}|{variable.name}") for variable in layer.weights]
        if layer.weights and all(values is not None for values in known):
            layer.set_weights([np.asarray(values, np.float32) for values in known])
    return model


def _restate(model: Any, batches: Sequence[Pictures]) -> None:
    """Gather the statistics of the trained normalisations anew."""
    norms = [layer for layer in model.layers if hasattr(layer, "moving_mean") and layer.trainable]
    for norm in norms:
        norm.momentum = _STATISTICS_MOMENTUM
    for pixels in batches:
        model(pixels, training=True)


def _weights_of(model: Any) -> dict[str, NDArray[Any]]:
    return {
        f"{layer.name}|{variable.name}": np.asarray(variable).astype(np.float32)
        for layer in model.layers for variable in layer.weights if variable.name != "seed_generator_state"
    }  # fmt: skip


def served(weights: Weights) -> dict[str, NDArray[Any]]:
    """Our arrays, normalisations folded, of Keras weights; the head only where there is one."""
    arrays = fold(weights)
    if "head|kernel" in weights:
        arrays[HEAD_KERNEL] = np.asarray(weights["head|kernel"], np.float32)
        arrays[HEAD_BIAS] = np.asarray(weights["head|bias"], np.float32)
    return arrays
