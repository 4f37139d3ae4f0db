"""Display transform: mirroring, quarter turns and sample shape of frames, from containers and RTP. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

# A larger sample aspect ratio comes from a damaged header; no format has one.
MAX_SAMPLE_ASPECT = 4.0


class DisplayTransform(msgspec.Struct, frozen=True, array_like=True):
    """Mirroring from left to right, followed by clockwise quarter turns (0 to 3).

    `sample_aspect` is the width of a sample over its height; 0.0 means that the bitstream decides.
    """

    quarter_turns: int = 0
    is_mirrored: bool = False
    sample_aspect: float = 0.0


AS_DECODED = DisplayTransform()


def transform_of_matrix(matrix: Sequence[int], sample_aspect: float = 0.0) -> DisplayTransform:
    """Returns the transform of an FFmpeg display matrix: nine numbers by row, a b u, c d v, x y w.

    A point (x, y) is shown at (a x + c y, b x + d y). Other angles are rounded to the nearest quarter turn.
    """
    a, b, c, d = matrix[0], matrix[1], matrix[3], matrix[4]
    is_mirrored = a * d - b * c < 0
    x, y = (-a, -b) if is_mirrored else (a, b)
    turns = (0 if x >= 0 else 2) if abs(x) >= abs(y) else (1 if y > 0 else 3)
    return DisplayTransform(turns, is_mirrored, sample_aspect)


def transform_of_cvo(value: int) -> DisplayTransform:
    """Returns the transform of a coordination-of-video-orientation byte (3GPP TS 26.114 7.4.5): 0 0 0 0 C F R1 R0.

    R is the number of clockwise quarter turns that the receiver applies; F says whether it mirrors left to right.
    """
    return DisplayTransform(value & 3, bool(value & 4))


def cvo_of_transform(transform: DisplayTransform) -> int:
    """Returns the byte that `transform_of_cvo` reads. It cannot hold a sample aspect ratio."""
    return transform.quarter_turns % 4 | (4 if transform.is_mirrored else 0)


def shown_size(width_px: int, height_px: int, sample_aspect: float) -> tuple[int, int]:
    """Returns (width, height) in square pixels. Never shrinks: narrow samples make the picture taller."""
    if not 1 / MAX_SAMPLE_ASPECT <= sample_aspect <= MAX_SAMPLE_ASPECT:
        return width_px, height_px
    if sample_aspect >= 1:
        return round(width_px * sample_aspect), height_px
    return width_px, round(height_px / sample_aspect)
