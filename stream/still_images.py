"""Still image decoding, with headers read and limits checked before any pixel is decoded.

OpenCV decodes JPEG and PNG; Pillow decodes the other formats. Both apply the EXIF orientation.
"""

from __future__ import annotations

import io
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from stream.errors import MediaRefused
from stream.file_type import SNIFF_BYTES, MediaKind, sniff

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stream.media_limits import MediaLimits

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
JPEG_MAGIC = b"\xff\xd8\xff"

_MAX_SEGMENTS = 50_000
_REDUCED_MODES = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, b"\xff\xd9"
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BARE_MARKERS = frozenset((0x01, *range(0xD0, 0xDA)))


@dataclass(frozen=True, slots=True)
class StillHeader:
    """Format and size of a picture. `complete` says whether the file reaches its own end mark."""

    codec: str
    width_px: int
    height_px: int
    complete: bool


def decode_still(data: bytes, limits: MediaLimits) -> NDArray[np.uint8]:
    """Decodes the first frame to upright RGB uint8 (h, w, 3). Shrinks JPEGs above the pixel limit while decoding.

    Raises MediaRefused: unsupported_media, too_large, truncated or undecodable.
    """
    kind = sniff(data[:SNIFF_BYTES])
    if kind is None or not kind.is_picture:
        raise MediaRefused("unsupported_media", "the picture is not JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or HEIC", 415)
    if kind not in (MediaKind.JPEG, MediaKind.PNG):
        return _decode_with_pillow(data, kind, limits)
    header = read_header(data)
    mode = cv2.IMREAD_COLOR_RGB
    if kind is MediaKind.JPEG and limits.picture_excess(header.width_px, header.height_px) is not None:
        mode = _shrinking_mode(header, limits)
    else:
        limits.check_picture(header.width_px, header.height_px)
    if header.complete:
        return _decode_with_opencv(data, kind, mode)
    if kind is MediaKind.JPEG:
        return _decode_without_end(data, mode)
    raise MediaRefused("truncated", f"the {kind.upper()} file ends before the picture does")


def _decode_with_opencv(data: bytes, kind: MediaKind, mode: int) -> NDArray[np.uint8]:
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), mode)
    except cv2.error as error:
        raise _undecodable(kind) from error
    if picture is None or picture.size == 0:
        raise _undecodable(kind)
    rgb = picture if mode == cv2.IMREAD_COLOR_RGB else cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    return np.asarray(rgb, dtype=np.uint8)


def _shrinking_mode(header: StillHeader, limits: MediaLimits) -> int:
    """Returns the weakest of OpenCV's shrinking modes that keeps a JPEG within the limit. Raises MediaRefused
    (too_large)."""
    if header.width_px * header.height_px > limits.shrunk_picture_pixels:
        limits.check_picture(header.width_px, header.height_px)
    for factor, mode in _REDUCED_MODES.items():
        if limits.picture_excess(header.width_px // factor, header.height_px // factor) is None:
            return mode
    raise _undecodable(MediaKind.JPEG)


def _decode_without_end(data: bytes, mode: int) -> NDArray[np.uint8]:
    """Decodes a JPEG that lacks its end mark but holds every pixel. Raises MediaRefused (truncated).

    A decoder invents missing pixels from the bytes that follow. If two different paddings give the same picture, no
    pixel is missing.
    """
    body = data.rstrip(b"\xff")
    paddings = b"", b"\x5a" * 64
    first, second = (_decode_with_opencv(body + each + _END_OF_IMAGE, MediaKind.JPEG, mode) for each in paddings)
    if not np.array_equal(first, second):
        raise MediaRefused("truncated", "the JPEG file ends before the picture does")
    return first


def _decode_with_pillow(data: bytes, kind: MediaKind, limits: MediaLimits) -> NDArray[np.uint8]:
    """Decodes the first frame with Pillow, restricted to the format that the first bytes announce."""
    import pi_heif  # imported late: most workers never need it
    from PIL import Image, ImageOps

    pi_heif.register_heif_opener()
    try:
        with Image.open(io.BytesIO(data), formats=[kind.upper()]) as picture:
            limits.check_picture(*picture.size)
            upright = ImageOps.exif_transpose(picture).convert("RGB")
            return np.array(upright, np.uint8)
    except MediaRefused:
        raise
    except Exception as error:      # Pillow's decoders raise errors of many kinds
        raise _undecodable(kind) from error


def read_header(data: bytes) -> StillHeader:
    """Reads size and completeness without decoding. Raises MediaRefused: unsupported_media, truncated or
    undecodable."""
    if data.startswith(JPEG_MAGIC):
        return _jpeg_header(data)
    if data.startswith(PNG_MAGIC):
        return _png_header(data)
    raise MediaRefused("unsupported_media", "the picture is neither JPEG nor PNG", 415)


def _undecodable(kind: MediaKind) -> MediaRefused:
    return MediaRefused("undecodable", f"the {kind.upper()} data cannot be decoded")


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
    raise _undecodable(MediaKind.JPEG)


def _png_header(data: bytes) -> StillHeader:
    if data[12:16] != b"IHDR":
        raise _undecodable(MediaKind.PNG) if len(data) >= 16 else MediaRefused("truncated", "the PNG file is cut off")
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
            raise _undecodable(MediaKind.PNG)
        if data[at + 4 : at + 8] == b"IEND":
            return True
        at = end + 4
    raise _undecodable(MediaKind.PNG)
