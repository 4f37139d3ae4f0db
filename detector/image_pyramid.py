"""Image pyramid of MTCNN, packed onto one canvas so that P-Net runs once per frame. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# P-Net classifies squares of this size, one every two pixels.
CELL_PX = 12
STRIDE_PX = 2
# Canvas sides are multiples of this, so that similar frame sizes share a graph.
CANVAS_STEP_PX = 8
# Levels up to this scale are downscaled from a source at least three times as large.
SMALL_SCALE = 1 / 8


@dataclass(frozen=True, slots=True)
class PyramidLevel:
    """One pyramid level: the picture at `scale`, placed at (left, top) of the canvas. Sizes in pixels."""

    scale: float
    width: int
    height: int
    left: int
    top: int

    @property
    def right(self) -> int:
        return self.left + self.width

    @property
    def bottom(self) -> int:
        return self.top + self.height

    def overlaps(self, other: PyramidLevel) -> bool:
        compare_baselines = self.right <= other.left or other.right <= self.left
        return not (compare_baselines or self.bottom <= other.top or other.bottom <= self.top)


def level_sizes(width_px: int, height_px: int, base_scale: float, factor: float) -> list[tuple[float, int, int]]:
    """Returns (scale, width, height) of the levels, largest first; empty for a picture too small for a face.

    Sides are truncated, not rounded, as in the reference implementation.
    """
    sizes = []
    scale = base_scale
    while min(int(width_px * scale), int(height_px * scale)) >= CELL_PX:
        sizes.append((scale, int(width_px * scale), int(height_px * scale)))
        scale *= factor
    return sizes


def source_halvings(scale: float) -> tuple[int, bool]:
    """Returns how often the picture is halved before a level is resized from it, and whether bilinearly (else by area).

    Averaging the whole picture by area, as the reference does, would cost as much as the network. Large levels take
    the next larger half, bilinearly where it is less than 1.41 times as large, so that no pixel is skipped. Small
    levels detect large faces with few cells: their source is at least three times as large.
    """
    if SMALL_SCALE < scale <= 0.5:
        count = math.floor(math.log2(1 / scale))
        return count, scale * 2**count > math.sqrt(0.5)
    return max(0, math.floor(math.log2(1 / (3 * scale)))), False


def _even(value: int) -> int:
    return value + value % STRIDE_PX


def pack_levels(sizes: Sequence[tuple[float, int, int]]) -> tuple[PyramidLevel, ...]:
    """Places the levels, largest first, each at the free corner that keeps the canvas smallest.

    All corners are even, so the cells of P-Net are those of each level alone.
    """
    placed: list[PyramidLevel] = []
    corners = [(0, 0)]
    for scale, width, height in sizes:
        options = [PyramidLevel(scale, width, height, left, top) for left, top in corners]
        free = [level for level in options if not any(level.overlaps(other) for other in placed)]
        best = min(free, key=lambda level: _canvas_area([*placed, level]))
        placed.append(best)
        right, bottom = _even(best.right), _even(best.bottom)
        corners += [(right, best.top), (best.left, bottom), (right, 0), (0, bottom)]
    return tuple(placed)


def canvas_size(levels: Sequence[PyramidLevel]) -> tuple[int, int]:
    """Returns (width, height) of the canvas in pixels."""
    step = CANVAS_STEP_PX
    width, height = max(level.right for level in levels), max(level.bottom for level in levels)
    return -(-width // step) * step, -(-height // step) * step


def _canvas_area(levels: Sequence[PyramidLevel]) -> int:
    width, height = canvas_size(levels)
    return width * height


def _cells(side_px: int) -> int:
    """Returns the number of cells along a side; pooling keeps a half-filled last window, so odd sides have one more."""
    return (_even(side_px) - CELL_PX) // STRIDE_PX + 1


def cell_levels(levels: Sequence[PyramidLevel], rows: int, columns: int) -> NDArray[np.int8]:
    """Returns int8 (rows, columns): the level of each cell of P-Net's output, -1 where it straddles levels."""
    owner = np.full((rows, columns), -1, dtype=np.int8)
    for index, level in enumerate(levels):
        top, left = level.top // STRIDE_PX, level.left // STRIDE_PX
        owner[top : top + _cells(level.height), left : left + _cells(level.width)] = index
    return owner
