"""JPEG and PNG: headers read and limits checked before a single pixel is decoded; one decoder, OpenCV's.

OpenCV turns pictures as their EXIF orientation says; nothing else here does.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from stream.errors import MediaRefused

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stream.media_limits import MediaLimits

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
JPEG_MAGIC = b"\xff\xd8\xff"

_MAX_SEGMENTS = 50_000
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, b"\xff\xd9"
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BARE_MARKERS = frozenset((0x01, *range(0xD0, 0xDA)))


@dataclass(frozen=True, slots=True)
class StillHeader:
    """`complete` says whether the file reaches its own end mark."""

    codec: str
    width_px: int
    height_px: int
    complete: bool


def decode_still(data: bytes, limits: MediaLimits) -> NDArray[np.uint8]:
    """RGB uint8 (h, w, 3), upright. Raises MediaRefused: unsupported_media, too_large, truncated or undecodable."""
    header = read_header(data)
    limits.check_picture(header.width_px, header.height_px)
    if not header.complete:
        raise MediaRefused("truncated", f"the {header.codec.upper()} file ends before the picture does")
    try:
        rgb = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error as error:
        raise _undecodable(header.codec) from error
    if rgb is None or rgb.size == 0:
        raise _undecodable(header.codec)
    return np.asarray(rgb, dtype=np.uint8)


def read_header(data: bytes) -> StillHeader:
    """Size and completeness, without decoding. Raises MediaRefused: unsupported_media, truncated or undecodable."""
    if data.startswith(JPEG_MAGIC):
        return _jpeg_header(data)
    if data.startswith(PNG_MAGIC):
        return _png_header(data)
    raise MediaRefused("unsupported_media", "the picture is neither JPEG nor PNG", 415)


def _undecodable(codec: str) -> MediaRefused:
    return MediaRefused("undecodable", f"the {codec.upper()} data cannot be decoded")


def _jpeg_header(data: bytes) -> StillHeader:
    size: tuple[int, int] | None = None
    at = 2
    for _ in range(_MAX_SEGMENTS):
        marker_at = data.find(b"\xff", at)
        if marker_at < 0 or marker_at + 4 > len(data):
            raise MediaRefused("truncated", "the JPEG file ends before the picture starts")
        marker = data[marker_at + 1]
        if marker in (0xFF, 0x00) or marker in _BARE_MARKERS:
            at = marker_at + (1 if marker == 0xFF else 2)
            continue
        if marker == _START_OF_SCAN and size is not None:
            return StillHeader("jpeg", *size, complete=data.find(_END_OF_IMAGE, marker_at) >= 0)
        if marker in _FRAME_MARKERS:
            height_px, width_px = (int.from_bytes(data[marker_at + k : marker_at + k + 2], "big") for k in (5, 7))
            size = width_px, height_px
        at = marker_at + 2 + int.from_bytes(data[marker_at + 2 : marker_at + 4], "big")
    raise _undecodable("jpeg")


def _png_header(data: bytes) -> StillHeader:
    if data[12:16] != b"IHDR":
        raise _undecodable("png") if len(data) >= 16 else MediaRefused("truncated", "the PNG file is cut off")
    width_px, height_px = (int.from_bytes(data[k : k + 4], "big") for k in (16, 20))
    return StillHeader("png", width_px, height_px, complete=_png_complete(data))


def _png_complete(data: bytes) -> bool:
    """Whether the chunks reach IEND. Raises MediaRefused (undecodable) if one does not match its checksum."""
    view = memoryview(data)
    at = len(PNG_MAGIC)
    for _ in range(_MAX_SEGMENTS):
        end = at + 8 + int.from_bytes(view[at : at + 4], "big")
        if end + 4 > len(data):
            return False
        if zlib.crc32(view[at + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            raise _undecodable("png")
        if data[at + 4 : at + 8] == b"IEND":
            return True
        at = end + 4
    raise _undecodable("png")
