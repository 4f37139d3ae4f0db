"""The one way from a face on a frame to what the network sees; serving and training both call it.

Colour order is RGB throughout. No I/O.
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

# A box many times larger than its frame is a finder gone wrong; filling it would only cost memory.
_MAX_FRAMES_PER_SIDE = 4
# Share of the crop, around its centre, that is face rather than background: 1 / 1.3, less the box's own corners.
_INNER_SHARE = 0.6


def crop_face(rgb: NDArray[np.uint8], face: DetectedFace) -> FaceCrop:
    """Cut one face out of a frame.

    `rgb` is uint8 (h, w, 3). The box is made square about its centre with 1.3 times its longer side; what lies outside
    the frame repeats the frame's border. Raises FaceNotCroppable.
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
    """(left, top, side) in whole pixels of the square to cut; may reach outside the frame."""
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
    """uint8 (s, s, 3) to uint8 (side_px, side_px, 3): area average when it shrinks, bilinear when it grows."""
    if rgb.shape[0] == side_px and rgb.shape[1] == side_px:
        return np.ascontiguousarray(rgb)
    how = cv2.INTER_AREA if rgb.shape[0] > side_px else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(rgb, (side_px, side_px), interpolation=how), dtype=np.uint8)


def stack_crops(crops: Sequence[FaceCrop], size_px: int = CROP_SIZE_PX) -> NDArray[np.uint8]:
    """uint8 (n, size_px, size_px, 3), RGB: what the serving graph takes; it scales as `to_network_input` does.

    Sizes other than 224 px are made from the native pixels.
    """
    if not crops:
        return np.zeros((0, size_px, size_px, 3), dtype=np.uint8)
    if size_px == CROP_SIZE_PX:
        return np.stack([crop.rgb for crop in crops])
    return np.stack([resize_square(crop.native_rgb, size_px) for crop in crops])


def to_network_input(crops: Sequence[FaceCrop]) -> NDArray[np.float32]:
    """float32 (n, 224, 224, 3), RGB in [-1, 1]: what the Keras network takes."""
    return scale_pixels(stack_crops(crops))


def scale_pixels(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """x / 127.5 - 1, the scaling that the ImageNet weights of Xception were trained with."""
    return rgb.astype(np.float32) / np.float32(127.5) - np.float32(1)


def luma(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """float32 (h, w) in 0..255, ITU-R BT.601 weights, from uint8 (h, w, 3) RGB."""
    return rgb.astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)


def measure_quality(crop: FaceCrop) -> FaceQuality:
    """How much this crop can tell.

    `sharpness` is the variance of the Laplacian of the luma (0..255) of the inner face in the 224 px crop (Pech-Pacheco
    et al. 2000); `luminance` is the mean luma there in 0..1. `weight` depends on size alone.
    """
    margin = round(CROP_SIZE_PX * (1 - _INNER_SHARE) / 2)
    inner = luma(crop.rgb[margin:-margin, margin:-margin])
    return FaceQuality(
        face_px=crop.face_px,
        sharpness=float(cv2.Laplacian(inner, cv2.CV_32F).var()),
        luminance=float(inner.mean() / 255),
        weight=size_weight(crop.face_px),
    )


def size_weight(face_px: float) -> float:
    """0 below 64 px, 1 from 112 px, straight in between."""
    return min(1.0, max(0.0, (face_px - MIN_FACE_PX) / (FULL_FACE_PX - MIN_FACE_PX)))
