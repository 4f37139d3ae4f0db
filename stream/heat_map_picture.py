"""Heat map picture: a frame overlaid with the evidence map of one of its faces, for people to view."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np

from detector.face_crop import CROP_SCALE, resize_square
from detector.types import CROP_SIZE_PX

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stream.types import FaceObservation

MAX_SIDE_PX = 1024


def heat_picture_png(rgb: NDArray[np.uint8], faces: tuple[FaceObservation, ...]) -> bytes | None:
    """Returns a PNG of the RGB uint8 frame, at most 1024 px a side, with the map of the most suspicious scored face.

    Returns None if no face was scored.
    """
    scored = [face for face in faces if face.heat_map is not None and face.llr is not None]
    if not scored:
        return None
    worst = max(scored, key=lambda face: face.llr or 0.0)
    canvas = _shrunk(rgb)
    _blend(canvas, worst)
    return bytes(cv2.imencode(".png", np.ascontiguousarray(canvas[:, :, ::-1]))[1])


def heat_cells(heat_map: bytes) -> NDArray[np.float32]:
    """Returns float32 (s, s) in 0..1 from s x s bytes, row-major."""
    cells = np.frombuffer(heat_map, np.uint8)
    side = math.isqrt(len(cells))
    return cells.reshape(side, side).astype(np.float32) / np.float32(255)


def _shrunk(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = rgb.shape[:2]
    factor = min(1.0, MAX_SIDE_PX / max(height, width))
    if factor == 1.0:
        return rgb.copy()
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _blend(canvas: NDArray[np.uint8], face: FaceObservation) -> None:
    """Blends the map into the square that the network saw, clipped to the picture."""
    height, width = canvas.shape[:2]
    x, y, box_width, box_height = face.box
    side = max(2, round(CROP_SCALE * max(box_width * width, box_height * height)))
    left = round((x + box_width / 2) * width - side / 2)
    top = round((y + box_height / 2) * height - side / 2)
    inner = (slice(max(0, top), min(height, top + side)), slice(max(0, left), min(width, left + side)))
    square = np.zeros((side, side, 3), np.uint8)
    within = (slice(inner[0].start - top, inner[0].stop - top), slice(inner[1].start - left, inner[1].stop - left))
    square[within] = canvas[inner]
    blended = overlay(resize_square(square, CROP_SIZE_PX), heat_cells(face.heat_map or b""))
    canvas[inner] = resize_square(blended, side)[within]


def overlay(rgb: NDArray[np.uint8], heat_map: NDArray[np.float32], opacity: float = 0.45) -> NDArray[np.uint8]:
    """Returns uint8 (224, 224, 3) RGB: the crop with warm colours over the evidence for FAKE.

    `rgb` is uint8 (224, 224, 3), `heat_map` float32 (s, s) in 0..1. Cells at 0 leave the crop unchanged.
    """
    size = (CROP_SIZE_PX, CROP_SIZE_PX)
    heat = np.clip(cv2.resize(heat_map, size, interpolation=cv2.INTER_CUBIC), 0, 1)
    colours = cv2.applyColorMap((heat * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[:, :, ::-1]
    share = opacity * heat[:, :, None]
    blended: NDArray[np.uint8] = np.rint(rgb * (1 - share) + colours * share).astype(np.uint8)
    return blended
