"""Preview pictures: small previews of frames, and evidence pictures of suspicious samples, for people to view.

Faces are blurred in the worker if configured, so that no other process ever holds them unblurred.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from detector.frequency import MIN_FACE_PX, spectrum
from stream.types import FacePicture, Pictures

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from detector.types import FaceCrop
    from stream.frame_analyser import ExaminedFrame
    from stream.types import FaceObservation

PREVIEW_QUALITY = 70
EVIDENCE_QUALITY = 85
EVIDENCE_WIDTH_PX = 640
_PNG_LEVEL = 1          # half the time of the default level, for 10 % more bytes
_MOSAIC_TILES = 6       # across a face; too coarse to recognise a person
_MARGIN = 0.25          # share of a box added on each side, for hair and chin


class PictureRenderer:
    """Renders the pictures of one worker. Blocks for a few milliseconds."""

    def __init__(self, suspicious_llr: float, preview_width_px: int, blur_faces: bool) -> None:
        self._suspicious_llr = suspicious_llr
        self._preview_width_px = preview_width_px
        self._blur_faces = blur_faces

    def preview(self, rgb: NDArray[np.uint8], examined: ExaminedFrame) -> bytes:
        """Returns a small JPEG copy of an RGB uint8 frame."""
        return self._shown(rgb, examined, self._preview_width_px, PREVIEW_QUALITY)

    def evidence(self, rgb: NDArray[np.uint8], examined: ExaminedFrame) -> Pictures | None:
        """Returns the frame and its suspicious faces; None if no face is suspicious."""
        suspects = [face for face in examined.faces if face.llr is not None and face.llr > self._suspicious_llr]
        if not suspects:
            return None
        faces = tuple(self._face(face, examined.crops[face.track]) for face in suspects)
        return Pictures(jpeg=self._shown(rgb, examined, EVIDENCE_WIDTH_PX, EVIDENCE_QUALITY), faces=faces)

    def _shown(self, rgb: NDArray[np.uint8], examined: ExaminedFrame, width_px: int, quality: int) -> bytes:
        small = _shrunk(rgb, width_px)
        return jpeg_of(blurred(small, (face.box for face in examined.faces)) if self._blur_faces else small, quality)

    def _face(self, face: FaceObservation, crop: FaceCrop) -> FacePicture:
        has_spectrum = min(crop.face_px, *crop.native_rgb.shape[:2]) >= MIN_FACE_PX
        return FacePicture(
            track=face.track,
            png=None if self._blur_faces else _png_of(crop.rgb),
            spectrum=tuple(float(power) for power in spectrum(crop.native_rgb)) if has_spectrum else (),
        )


def jpeg_of(rgb: NDArray[np.uint8], quality: int) -> bytes:
    """Returns the JPEG of an RGB uint8 picture."""
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)      # numpy takes 20 times as long to swap the channels
    return bytes(cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, quality))[1])


def blurred(rgb: NDArray[np.uint8], boxes: Iterable[tuple[float, float, float, float]]) -> NDArray[np.uint8]:
    """Returns a copy with a coarse mosaic over each box, given as (x, y, width, height) in shares of the frame."""
    covered = rgb.copy()
    height, width = rgb.shape[:2]
    for x, y, box_width, box_height in boxes:
        left, right = _span(x, box_width, width)
        top, bottom = _span(y, box_height, height)
        size = right - left, bottom - top
        tiles = cv2.resize(
            covered[top:bottom, left:right], (_MOSAIC_TILES, _MOSAIC_TILES), interpolation=cv2.INTER_AREA
        )
        covered[top:bottom, left:right] = cv2.resize(tiles, size, interpolation=cv2.INTER_NEAREST)
    return covered


def _span(start: float, share: float, side_px: int) -> tuple[int, int]:
    """Returns the half-open pixel range of one side of a widened box; at least one pixel."""
    first = min(side_px - 1, max(0, int((start - _MARGIN * share) * side_px)))
    return first, max(first + 1, min(side_px, int((start + (1 + _MARGIN) * share) * side_px) + 1))


def _shrunk(rgb: NDArray[np.uint8], width_px: int) -> NDArray[np.uint8]:
    height, width = rgb.shape[:2]
    factor = min(1.0, width_px / width)
    if factor == 1.0:
        return rgb
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _png_of(rgb: NDArray[np.uint8]) -> bytes:
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    return bytes(cv2.imencode(".png", bgr, (cv2.IMWRITE_PNG_COMPRESSION, _PNG_LEVEL))[1])
