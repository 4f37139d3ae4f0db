"""Still encoder: encodes each decoded picture as a standalone H.264 unit, for sources without encoded media."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

import av
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Plane = NDArray[np.uint8]

_OPTIONS = {"preset": "ultrafast", "tune": "zerolatency", "profile": "baseline", "crf": "18", "threads": "1"}


class I420Picture(NamedTuple):
    """A picture as I420 without padding. `quarter_turns` clockwise make it upright."""

    i420: bytes
    width_px: int
    height_px: int
    quarter_turns: int = 0


class StillEncoder:
    """Encodes one access unit per picture: Annex-B with parameter sets, decodable without any other unit.

    A unit that is lost in transit thus costs one sample. Not thread-safe.
    """

    def __init__(self) -> None:
        self._encoder: Any = None
        self._size_px = (0, 0)
        self._number = 0

    def encode(self, picture: I420Picture) -> bytes:
        """Returns the encoded picture at its own size, upright, at least 2 x 2 pixels. An odd last row or column is
        cropped."""
        frame = av.VideoFrame.from_ndarray(upright(picture), format="yuv420p")
        if (frame.width, frame.height) != self._size_px:
            self._start(frame.width, frame.height)
        frame.pts, frame.time_base = self._number, Fraction(1, 30)
        self._number += 1
        return b"".join(bytes(packet) for packet in self._encoder.encode(frame))

    def _start(self, width_px: int, height_px: int) -> None:
        encoder: Any = av.CodecContext.create("libx264", "w")
        encoder.width, encoder.height, encoder.pix_fmt = width_px, height_px, "yuv420p"
        encoder.time_base, encoder.gop_size, encoder.options = Fraction(1, 30), 1, _OPTIONS
        self._encoder, self._size_px, self._number = encoder, (width_px, height_px), 0


def upright(picture: I420Picture) -> Plane:
    """Returns uint8 (height * 3/2, width): Y, U and V below each other, with even sides."""
    width, height = picture.width_px, picture.height_px
    half_width, half_height = (width + 1) // 2, (height + 1) // 2
    samples = np.frombuffer(picture.i420, np.uint8)
    luma, chroma = samples[: width * height], samples[width * height :]
    rows, columns = height // 2, width // 2
    y = luma.reshape(height, width)[: 2 * rows, : 2 * columns]
    u, v = chroma.reshape(2, half_height, half_width)[:, :rows, :columns]
    turned = [np.rot90(plane, -picture.quarter_turns) for plane in (y, u, v)]
    return np.concatenate([plane.ravel() for plane in turned]).reshape(-1, turned[0].shape[1])
