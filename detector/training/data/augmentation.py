"""Augmentation of training pictures: random square, mirroring, light, occlusion, JPEG.

One `Augmentation` is drawn per pair and applied to both halves, so that they differ in the face alone. Pictures are
uint8 (side, side, 3) RGB.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from detector.training.data.samples import MASK_SIDE, UNKNOWN

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Picture = NDArray[np.uint8]

# Side, in pixels of the input, of one cell of block 13.
CELL_PX = 16
_WHOLE_SHARE = 0.4
_SMALLEST_SIDE = 0.86
_GREY = 128


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Parameters of one augmentation; applying it draws no random numbers.

    `left`, `top` and `side` are in pixels of the picture. Each value v becomes `gain * v + offset`. `hidden` is an
    occluded box: left, top, right, bottom as fractions of the side.
    """

    left: int
    top: int
    side: int
    mirror: bool = False
    gain: float = 1.0
    offset: float = 0.0
    hidden: tuple[float, float, float, float] | None = None
    jpeg_quality: int | None = None

    def apply(self, rgb: Picture, size_px: int) -> Picture:
        """Returns the augmented picture, uint8 (size_px, size_px, 3) RGB."""
        shown = self._square(rgb)
        if size_px != self.side:
            how = cv2.INTER_AREA if size_px < self.side else cv2.INTER_LINEAR
            shown = np.asarray(cv2.resize(shown, (size_px, size_px), interpolation=how), np.uint8)
        if self.jpeg_quality is not None:
            shown = _through_jpeg(shown, self.jpeg_quality)
        lit = shown.astype(np.float32) * np.float32(self.gain) + np.float32(self.offset)
        seen: Picture = np.rint(lit).clip(0, 255).astype(np.uint8)
        return self._hide(seen, _GREY)

    def apply_to_mask(self, mask: Picture, size_px: int) -> Picture:
        """Returns the mask of the augmented picture, uint8 (cells, cells), with occluded cells at 0.

        `mask` is (14, 14) over a picture `MASK_SIDE * CELL_PX` pixels wide. An unknown mask stays unknown.
        """
        count = -(-size_px // CELL_PX)
        if mask[0, 0] == UNKNOWN:
            return np.full((count, count), UNKNOWN, np.uint8)
        wide = cv2.resize(mask, (MASK_SIDE * CELL_PX,) * 2, interpolation=cv2.INTER_LINEAR)
        shown = self._hide(self._square(np.asarray(wide, np.uint8)), 0)
        return np.asarray(cv2.resize(shown, (count, count), interpolation=cv2.INTER_AREA), np.uint8)

    def _square(self, picture: Picture) -> Picture:
        square = picture[self.top : self.top + self.side, self.left : self.left + self.side]
        return np.array(square[:, ::-1] if self.mirror else square, order="C")

    def _hide(self, square: Picture, level: int) -> Picture:
        """Sets the occluded box to `level`, in place, and returns the array."""
        if self.hidden is not None:
            left, top, right, bottom = (round(share * len(square)) for share in self.hidden)
            square[top:bottom, left:right] = level
        return square


def _through_jpeg(rgb: Picture, quality: int) -> Picture:
    """Returns the picture after JPEG. Red and blue are exchanged both ways, which hardly changes the losses."""
    _, content = cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(content, cv2.IMREAD_COLOR), np.uint8)


def draw_augmentation(rng: np.random.Generator, native_px: int) -> Augmentation:
    """Draws an augmentation of pictures of this side; in 40 % of cases it keeps the whole picture, as in serving."""
    is_whole = rng.random() < _WHOLE_SHARE
    side = native_px if is_whole else int(rng.integers(round(_SMALLEST_SIDE * native_px), native_px + 1))
    left, top = (int(rng.integers(0, native_px - side + 1)) for _ in range(2))
    is_lit = rng.random() < 0.5
    hidden = _draw_hidden(rng) if rng.random() < 0.2 else None
    return Augmentation(
        left, top, side,
        mirror=bool(rng.random() < 0.5),
        gain=float(rng.uniform(0.85, 1.15)) if is_lit else 1.0,
        offset=float(rng.uniform(-15, 15)) if is_lit else 0.0,
        hidden=hidden,
        jpeg_quality=int(rng.integers(40, 96)) if rng.random() < 0.2 else None,
    )  # fmt: skip


def _draw_hidden(rng: np.random.Generator) -> tuple[float, float, float, float]:
    (left, top), (width, height) = rng.uniform(0.0, 0.7, 2), rng.uniform(0.2, 0.45, 2)
    return float(left), float(top), float(min(left + width, 1.0)), float(min(top + height, 1.0))
