"""Box geometry: overlap, suppression, squares, clipping. Pure.

Arrays of boxes are (n, 4) in pixels: left, top, right, bottom.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from detector.types import FaceBox

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    Floats = NDArray[np.floating]
    Bools = NDArray[np.bool_]


def iou(first: FaceBox, second: FaceBox) -> float:
    """Returns intersection over union, 0..1; 0 where the boxes do not overlap or are empty."""
    width = min(first.right, second.right) - max(first.left, second.left)
    height = min(first.bottom, second.bottom) - max(first.top, second.top)
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / (first.area + second.area - shared)


def box_array(boxes: Iterable[FaceBox]) -> NDArray[np.float64]:
    """Returns the boxes as float64 (n, 4)."""
    rows = [(box.left, box.top, box.right, box.bottom) for box in boxes]
    return np.array(rows, dtype=np.float64).reshape(-1, 4)


def areas(boxes: Floats) -> Floats:
    """Returns (n,) areas; an inverted box has area 0."""
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    return np.maximum(width, 0) * np.maximum(height, 0)


def intersections(first: Floats, second: Floats) -> Floats:
    """Returns (n, m): the area of overlap of box i of `first` and box j of `second`."""
    width = np.minimum(first[:, None, 2], second[None, :, 2]) - np.maximum(first[:, None, 0], second[None, :, 0])
    height = np.minimum(first[:, None, 3], second[None, :, 3]) - np.maximum(first[:, None, 1], second[None, :, 1])
    shared: Floats = np.maximum(width, 0) * np.maximum(height, 0)
    return shared


def _ratio(part: Floats, whole: Floats) -> Floats:
    """Returns part / whole, 0 where `whole` is 0."""
    ratio: Floats = np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
    return ratio


def pairwise_iou(first: Floats, second: Floats) -> Floats:
    """Returns (n, m) intersection over union."""
    shared = intersections(first, second)
    return _ratio(shared, areas(first)[:, None] + areas(second)[None, :] - shared)


def pairwise_overlap_of_smaller(first: Floats, second: Floats) -> Floats:
    """Returns (n, m) intersection over the smaller of the two areas."""
    return _ratio(intersections(first, second), np.minimum(areas(first)[:, None], areas(second)[None, :]))


def suppress_overlaps(overlaps: Bools) -> NDArray[np.intp]:
    """Returns the indices of the boxes that overlap with no box of higher confidence.

    `overlaps` is bool (n, n) over boxes in falling order of confidence. Unlike in greedy non-maximum suppression, a
    suppressed box still suppresses others: this is the rule of the reference implementation.
    """
    count = len(overlaps)
    better = np.arange(count)
    return np.flatnonzero(~(overlaps & (better[:, None] < better[None, :])).any(axis=0))


def enclosing_squares(boxes: Floats) -> Floats:
    """Returns squares (n, 4) around the same centres, with the longer side of each box."""
    sizes = boxes[:, 2:] - boxes[:, :2]
    corner = boxes[:, :2] + (sizes - sizes.max(axis=1, keepdims=True)) / 2
    return np.concatenate([corner, corner + sizes.max(axis=1, keepdims=True)], axis=1)


def clipped(box: FaceBox, width_px: int, height_px: int) -> FaceBox:
    """Returns the part of the box inside the frame; it has no area where the box lies outside."""
    left, right = (min(max(value, 0.0), float(width_px)) for value in (box.left, box.right))
    top, bottom = (min(max(value, 0.0), float(height_px)) for value in (box.top, box.bottom))
    return FaceBox(left, top, right, bottom)


def square_box(box: FaceBox, factor: float) -> FaceBox:
    """Returns a square around the centre of the box, with `factor` times its longer side."""
    half = max(box.width, box.height) * factor / 2
    x, y = box.centre
    return FaceBox(x - half, y - half, x + half, y + half)
