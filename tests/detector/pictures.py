"""Generated pictures with a face-like arrangement, and random weights of the right shapes. Everything is seeded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from detector.array_file import write_arrays
from detector.frequency import FEATURE_COUNT, FrequencyModel
from detector.fusion import Calibration
from detector.model_artifact import Manifest, sha256_of, write_manifest
from detector.training.data.datasets import LocatedFace
from detector.types import DetectedFace, FaceBox
from detector.xception_keras import convolution_names, fold_normalisation
from detector.xception_openvino import HEAD_BIAS, HEAD_KERNEL

if TYPE_CHECKING:
    from numpy.typing import NDArray

MEDIA = Path(__file__).resolve().parents[1] / "media"
_SHORTCUT_WIDTHS = {2: (64, 128), 3: (128, 256), 4: (256, 728), 13: (728, 1024)}
_SPECIAL_WIDTHS = {
    "block2_sepconv1": (64, 128), "block2_sepconv2": (128, 128), "block3_sepconv1": (128, 256),
    "block3_sepconv2": (256, 256), "block4_sepconv1": (256, 728), "block13_sepconv2": (728, 1024),
    "block14_sepconv1": (1024, 1536), "block14_sepconv2": (1536, 2048),
}  # fmt: skip


def gradient(height_px: int, width_px: int) -> NDArray[np.uint8]:
    """Smooth, different in every channel and corner: rescaling it is the same on every machine to one grey level."""
    rows = np.linspace(0, 1, height_px)[:, None]
    columns = np.linspace(0, 1, width_px)[None, :]
    channels = (rows + 0 * columns, columns + 0 * rows, 0.5 + 0.5 * np.sin(9 * rows) * np.cos(7 * columns))
    return np.rint(255 * np.stack(channels, axis=2)).astype(np.uint8)


def face_at(left: float, top: float, side_px: float) -> DetectedFace:
    """A square box with landmarks where they are on a frontal face."""
    places = np.array([(0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)])
    landmarks = (np.array([left, top]) + side_px * places).astype(np.float32)
    return DetectedFace(FaceBox(left, top, left + side_px, top + side_px), 0.99, landmarks)


def portrait(seed: int, side_px: int = 256) -> LocatedFace:
    """Smooth coloured noise with an oval, two dark spots and a bar, of its own colours: 256 px, face 128 px."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 1, (side_px, side_px, 3))
    noise = cv2.GaussianBlur(noise, (0, 0), 6) * 180 + cv2.GaussianBlur(noise, (0, 0), 1) * 20
    rgb = rng.uniform(70, 180, 3) + noise
    face = face_at(side_px / 4, side_px / 4, side_px / 2)
    oval = np.zeros((side_px, side_px))
    cv2.ellipse(oval, (side_px // 2, side_px // 2), (side_px // 5, side_px // 4), 0, 0, 360, 1.0, -1)
    rgb += cv2.GaussianBlur(oval, (0, 0), 3)[:, :, None] * rng.uniform(20, 60, 3)
    for x, y in face.landmarks[[0, 1]]:
        cv2.circle(rgb, (int(x), int(y)), side_px // 32, (30.0, 25.0, 20.0), -1)
    (left, y), (right, _) = face.landmarks[3:]
    cv2.line(rgb, (int(left), int(y)), (int(right), int(y)), (120.0, 30.0, 30.0), side_px // 48)
    return LocatedFace(np.rint(rgb).clip(0, 255).astype(np.uint8), face, f"person-{seed}")


def released_weights(seed: int = 0) -> dict[str, NDArray[Any]]:
    """Random weights under Keras's names, scaled so that activations neither die nor explode."""
    rng = np.random.default_rng(seed)
    arrays: dict[str, NDArray[Any]] = {}
    for name, keras_name, norm in convolution_names():
        kernels, width = _kernels(rng, name)
        arrays.update({f"{keras_name}|{part}": kernel.astype(np.float32) for part, kernel in kernels.items()})
        arrays[f"{norm}|gamma"] = rng.uniform(0.8, 1.2, width).astype(np.float32)
        arrays[f"{norm}|beta"] = rng.normal(0, 0.1, width).astype(np.float32)
        arrays[f"{norm}|moving_mean"] = rng.normal(0, 0.1, width).astype(np.float32)
        arrays[f"{norm}|moving_variance"] = rng.uniform(0.8, 1.5, width).astype(np.float32)
    return arrays


def _kernels(rng: np.random.Generator, name: str) -> tuple[dict[str, NDArray[Any]], int]:
    if "shortcut" in name:
        start, width = _SHORTCUT_WIDTHS[int(name.removeprefix("block").split("_")[0])]
        return {"kernel": rng.normal(0, start**-0.5, (1, 1, start, width))}, width
    if "sepconv" not in name:
        start, width = (3, 32) if name == "block1_conv1" else (32, 64)
        return {"kernel": rng.normal(0, (4.5 * start) ** -0.5, (3, 3, start, width))}, width
    start, width = _SPECIAL_WIDTHS.get(name, (728, 728))
    depthwise = rng.normal(0, 1 / 3, (3, 3, start, 1))
    return {"depthwise_kernel": depthwise, "pointwise_kernel": rng.normal(0, start**-0.5, (1, 1, start, width))}, width


def network_arrays(seed: int = 0) -> dict[str, NDArray[Any]]:
    """A whole random network with a head, as the artefact stores it."""
    rng = np.random.default_rng(seed + 1)
    head = rng.normal(0, 0.1, (2048, 1)).astype(np.float32)
    return {**fold_normalisation(released_weights(seed)), HEAD_KERNEL: head, HEAD_BIAS: np.array([0.25], np.float32)}


def flat_frequency_model() -> FrequencyModel:
    ones = (1.0,) * FEATURE_COUNT
    return FrequencyModel(mean=(0.0,) * FEATURE_COUNT, scale=ones, coefficients=(0.1,) * FEATURE_COUNT, intercept=0.0)


def write_artefact(folder: Path, seed: int = 0) -> Manifest:
    """A complete, valid artefact with random weights."""
    write_arrays(folder / "xception.npz", network_arrays(seed))
    manifest = Manifest(
        name="random",
        version="0",
        arrays_file="xception.npz",
        sha256=sha256_of(folder / "xception.npz"),
        calibration=Calibration(bias=0.1, logit_weight=0.5),
        frequency=flat_frequency_model(),
        trained={},
    )
    write_manifest(folder, manifest)
    return manifest
