"""How a decoded frame is shown: mirroring, quarter turns and sample shape, from containers and RTP. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

# A sample aspect ratio beyond this is a damaged header, not a format that exists.
MAX_SAMPLE_ASPECT = 4.0


class DisplayTransform(msgspec.Struct, frozen=True, array_like=True):
    """Mirrored left to right, then turned clockwise by quarter turns (0 to 3).

    `sample_aspect` is the width of a sample over its height; 0.0 leaves it to the bitstream.
    """

    quarter_turns: int = 0
    is_mirrored: bool = False
    sample_aspect: float = 0.0


AS_DECODED = DisplayTransform()


def transform_of_matrix(matrix: Sequence[int], sample_aspect: float = 0.0) -> DisplayTransform:
    """The transform of a display matrix as FFmpeg keeps it (nine numbers, row by row: a b u, c d v, x y w).

    A point (x, y) is shown at (a x + c y, b x + d y). Other angles count as the nearest quarter turn.
    """
    a, b, c, d = matrix[0], matrix[1], matrix[3], matrix[4]
    is_mirrored = a * d - b * c < 0
    x, y = (-a, -b) if is_mirrored else (a, b)
    turns = (0 if x >= 0 else 2) if abs(x) >= abs(y) else (1 if y > 0 else 3)
    return DisplayTransform(turns, is_mirrored, sample_aspect)


def transform_of_cvo(value: int) -> DisplayTransform:
    """The transform of a byte of coordination of video orientation (3GPP TS 26.114 7.4.5): 0 0 0 0 C F R1 R0.

    R is how many quarter turns clockwise the receiver applies, F whether it mirrors left to right.
    """
    return DisplayTransform(value & 3, bool(value & 4))


def cvo_of_transform(transform: DisplayTransform) -> int:
    """The byte that `transform_of_cvo` reads. A sample aspect ratio has no place in it."""
    return transform.quarter_turns % 4 | (4 if transform.is_mirrored else 0)


def shown_size(width_px: int, height_px: int, sample_aspect: float) -> tuple[int, int]:
    """(width, height) in square pixels. Nothing is shrunk: narrow samples make the picture higher."""
    if not 1 / MAX_SAMPLE_ASPECT <= sample_aspect <= MAX_SAMPLE_ASPECT:
        return width_px, height_px
    if sample_aspect >= 1:
        return round(width_px * sample_aspect), height_px
    return width_px, round(height_px / sample_aspect)
