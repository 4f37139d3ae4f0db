"""Small autoencoder over real faces, whose decoded patches imitate the output of face-swapping tools.

One encoder and one decoder are trained on the photos alone. A patch is decoded from a mix of two people's codes, so it
has the pose of one, features of both, and the texture of a neural decoder. Needs the `train` extra.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from detector.training.data.datasets import LocatedFace
    from detector.types import DetectedFace

    Pixels = NDArray[np.uint8]

PATCH_PX = 96
DRAWINGS = 2
_CODE = 192
_BATCH = 32
# Positions of eyes, nose and corners of the mouth on a patch, as fractions of its side.
_LANDMARKS = ((0.32, 0.36), (0.68, 0.36), (0.5, 0.56), (0.36, 0.76), (0.64, 0.76))


def alignment(face: DetectedFace, side_px: int) -> NDArray[np.float64]:
    """Returns the similarity (2, 3) from the picture to a patch of the face. Raises ValueError where none fits."""
    wanted = np.array(_LANDMARKS, dtype=np.float32) * side_px
    matrix, _ = cv2.estimateAffinePartial2D(face.landmarks, wanted, method=cv2.LMEDS)
    if matrix is None:
        raise ValueError("no similarity fits the landmarks")
    return np.asarray(matrix)


def patch_of(face: LocatedFace) -> Pixels:
    """Returns the aligned face, uint8 (96, 96, 3) RGB."""
    matrix = alignment(face.face, PATCH_PX)
    size = (PATCH_PX, PATCH_PX)
    patch = cv2.warpAffine(face.rgb, matrix, size, flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(patch, dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class DrawSettings:
    """Training steps (0: no patches), seed, and cache folder."""

    steps: int
    seed: int
    cache: Path


def draw_patches(
    learn: Sequence[LocatedFace],
    others: Sequence[LocatedFace],
    settings: DrawSettings,
    progress: Callable[[str, float], None],
) -> dict[str, Pixels]:
    """Returns decoded patches, uint8 (2, 96, 96, 3) RGB, by name of face. The autoencoder learns from `learn` alone."""
    learnt, drawn_too = ([face for face in faces if _fits(face)] for faces in (learn, others))
    if not settings.steps or not learnt:
        return {}
    names = np.array([face.name for face in (*learnt, *drawn_too)])
    path = settings.cache / f"drawings-{settings.steps}-{settings.seed}.npz"
    if path.is_file():
        with np.load(path, allow_pickle=False) as kept:
            if np.array_equal(kept["names"], names):
                return dict(zip(kept["names"].tolist(), kept["drawn"], strict=True))
    patches = np.stack([patch_of(face) for face in (*learnt, *drawn_too)])
    drawn = _draw(patches, len(learnt), settings, progress)
    settings.cache.mkdir(parents=True, exist_ok=True)
    np.savez(path, names=names, drawn=drawn)
    return dict(zip(names.tolist(), drawn, strict=True))


def _fits(face: LocatedFace) -> bool:
    try:
        alignment(face.face, PATCH_PX)
    except ValueError:
        return False
    return True


def _draw(
    patches: Pixels, learnt: int, settings: DrawSettings, progress: Callable[[str, float], None]
) -> Pixels:
    """Returns (n, 2, 96, 96, 3): every patch decoded from a mix of its own code and that of a random other."""
    import keras

    keras.utils.set_random_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    encoder, decoder = _build()
    whole = keras.Model(encoder.input, decoder(encoder.output))
    whole.compile(optimizer=keras.optimizers.Adam(1e-3), loss="mae")
    for step in range(settings.steps):
        batch = patches[rng.integers(0, learnt, _BATCH)].astype(np.float32) / 255
        batch = batch[:, :, ::-1] if step % 2 else batch
        whole.train_on_batch(batch, batch)
        progress("autoencoder", step / settings.steps)
    codes = encoder.predict(patches.astype(np.float32) / 255, batch_size=_BATCH, verbose=0)
    drawn = []
    for _ in range(DRAWINGS):
        share = rng.uniform(0.0, 0.5, (len(codes), 1)).astype(np.float32)
        mixed = (1 - share) * codes + share * codes[rng.permutation(len(codes))]
        drawn.append(np.rint(decoder.predict(mixed, batch_size=_BATCH, verbose=0).clip(0, 1) * 255).astype(np.uint8))
    return np.stack(drawn, axis=1)


def _build() -> tuple[Any, Any]:
    """Returns the encoder, (n, 96, 96, 3) in 0..1 to (n, 192), and the decoder back."""
    import keras
    from keras import layers

    start = layers.Input((PATCH_PX, PATCH_PX, 3))
    node = start
    for width in (24, 48, 96, 128):
        node = layers.LeakyReLU(0.1)(layers.Conv2D(width, 5, strides=2, padding="same")(node))
    encoder = keras.Model(start, layers.Dense(_CODE)(layers.Flatten()(node)))
    code = layers.Input((_CODE,))
    node = layers.Reshape((6, 6, 64))(layers.Dense(6 * 6 * 64)(code))
    for width in (64, 48, 32, 16):
        node = layers.LeakyReLU(0.1)(layers.Conv2D(4 * width, 3, padding="same")(node))
        node = layers.Reshape((node.shape[1], node.shape[2], 2, 2, width))(node)
        node = layers.Permute((1, 3, 2, 4, 5))(node)
        node = layers.Reshape((2 * node.shape[1], 2 * node.shape[3], width))(node)
    decoder = keras.Model(code, layers.Conv2D(3, 3, padding="same", activation="sigmoid")(node))
    return encoder, decoder
