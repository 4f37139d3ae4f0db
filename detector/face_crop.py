"""Preprocessing of faces: cropping, resizing, scaling and quality, the same for serving and training.

Colour order is RGB throughout. Pure.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np

from detector.errors import FaceNotCroppable
from detector.types import CROP_SIZE_PX, FaceCrop, FaceQuality

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from detector.types import DetectedFace, FaceBox

CROP_SCALE = 1.3
NATIVE_LIMIT_PX = 512
MIN_FACE_PX = 64.0
FULL_FACE_PX = 112.0

# A box many times larger than its frame is an error of the finder; cropping it would only cost memory.
_MAX_FRAMES_PER_SIDE = 4
# Central share of each side of the crop that shows face, not background: 1 / 1.3, less the corners of the box.
_FACE_SHARE = 0.6


def crop_face(rgb: NDArray[np.uint8], face: DetectedFace) -> FaceCrop:
    """Crops one face from an RGB uint8 (h, w, 3) frame.

    The crop is a square around the centre of the box with 1.3 times its longer side. Outside the frame it repeats the
    border pixels. Raises FaceNotCroppable.
    """
    left, top, side = _square(face.box, rgb.shape[1], rgb.shape[0])
    rows = np.clip(np.arange(top, top + side), 0, rgb.shape[0] - 1)
    columns = np.clip(np.arange(left, left + side), 0, rgb.shape[1] - 1)
    inside = left >= 0 and top >= 0 and left + side <= rgb.shape[1] and top + side <= rgb.shape[0]
    native = rgb[top : top + side, left : left + side] if inside else rgb[rows[:, None], columns[None, :]]
    return FaceCrop(
        rgb=resize_square(native, CROP_SIZE_PX),
        native_rgb=resize_square(native, NATIVE_LIMIT_PX) if side > NATIVE_LIMIT_PX else np.ascontiguousarray(native),
        box=face.box,
        face_px=min(face.box.width, face.box.height),
    )


def _square(box: FaceBox, width_px: int, height_px: int) -> tuple[int, int, int]:
    """Returns (left, top, side) of the square to crop, in whole pixels; it may reach outside the frame."""
    edges = (box.left, box.top, box.right, box.bottom)
    if not all(math.isfinite(edge) for edge in edges) or box.width < 1 or box.height < 1:
        raise FaceNotCroppable(f"box {edges}: expected finite edges at least one pixel apart")
    if box.right <= 0 or box.bottom <= 0 or box.left >= width_px or box.top >= height_px:
        raise FaceNotCroppable(f"box {edges} lies outside the {width_px}x{height_px} frame")
    side = max(2, round(CROP_SCALE * max(box.width, box.height)))
    if side > _MAX_FRAMES_PER_SIDE * max(width_px, height_px):
        raise FaceNotCroppable(f"box {edges} is far larger than the {width_px}x{height_px} frame")
    centre_x, centre_y = box.centre
    return math.floor(centre_x - side / 2 + 0.5), math.floor(centre_y - side / 2 + 0.5), side


def resize_square(rgb: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    """Resizes uint8 (s, s, 3) to (side_px, side_px, 3): area average to shrink, bilinear to enlarge."""
    if rgb.shape[0] == side_px and rgb.shape[1] == side_px:
        return np.ascontiguousarray(rgb)
    method = cv2.INTER_AREA if rgb.shape[0] > side_px else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(rgb, (side_px, side_px), interpolation=method), dtype=np.uint8)


def stack_crops(crops: Sequence[FaceCrop], size_px: int = CROP_SIZE_PX) -> NDArray[np.uint8]:
    """Returns the input of the serving graph, uint8 (n, size_px, size_px, 3) RGB.

    The graph itself scales the pixels as `to_network_input` does. Sizes other than 224 px are resized from the native
    pixels.
    """
    if not crops:
        return np.zeros((0, size_px, size_px, 3), dtype=np.uint8)
    if size_px == CROP_SIZE_PX:
        return np.stack([crop.rgb for crop in crops])
    return np.stack([resize_square(crop.native_rgb, size_px) for crop in crops])


def to_network_input(crops: Sequence[FaceCrop]) -> NDArray[np.float32]:
    """Returns the input of the Keras network, float32 (n, 224, 224, 3) RGB in [-1, 1]."""
    return scale_pixels(stack_crops(crops))


def scale_pixels(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Returns x / 127.5 - 1, the scaling with which the ImageNet weights of Xception were trained."""
    return rgb.astype(np.float32) / np.float32(127.5) - np.float32(1)


def luma(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Returns the luma, float32 (h, w) in 0..255 with ITU-R BT.601 weights, of uint8 (h, w, 3) RGB."""
    return rgb.astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)


def measure_quality(crop: FaceCrop) -> FaceQuality:
    """Measures the quality of a crop.

    `sharpness` is the variance of the Laplacian of the luma (0..255) of the inner face in the 224 px crop (Pech-Pacheco
    et al. 2000); `luminance` is the mean luma there in 0..1. `weight` depends on size alone.
    """
    margin = round(CROP_SIZE_PX * (1 - _FACE_SHARE) / 2)
    inner = luma(crop.rgb[margin:-margin, margin:-margin])
    return FaceQuality(
        face_px=crop.face_px,
        sharpness=float(cv2.Laplacian(inner, cv2.CV_32F).var()),
        luminance=float(inner.mean() / 255),
        weight=size_weight(crop.face_px),
    )


def size_weight(face_px: float) -> float:
    """Returns the weight of a face by its shorter side: 0 below 64 px, 1 from 112 px, linear in between."""
    return min(1.0, max(0.0, (face_px - MIN_FACE_PX) / (FULL_FACE_PX - MIN_FACE_PX)))
