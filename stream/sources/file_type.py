"""What a file is, by its first bytes, and whether it was cut off, by its own sizes. No decoding.

Names, extensions and content types that a client gives are never looked at.
"""

from __future__ import annotations

from enum import StrEnum
from typing import BinaryIO

SNIFF_BYTES = 1024

_TS_PACKET_BYTES = 188
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_MP4_FIRST_BOXES = frozenset((b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"))
_MAX_BOXES = 10_000


class MediaKind(StrEnum):
    """The kinds that are taken."""

    MP4 = "mp4"             # and MOV
    AVI = "avi"
    MATROSKA = "matroska"   # and WebM
    MPEGTS = "mpegts"
    JPEG = "jpeg"
    PNG = "png"

    @property
    def is_picture(self) -> bool:
        return self in (MediaKind.JPEG, MediaKind.PNG)


_MAGIC = {
    b"\xff\xd8\xff": MediaKind.JPEG,
    b"\x89PNG\r\n\x1a\n": MediaKind.PNG,
    _EBML: MediaKind.MATROSKA,
}


def sniff(head: bytes) -> MediaKind | None:
    """The kind of a file that starts with `head` (its first 1024 bytes), or None if it is none of ours."""
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return MediaKind.AVI
    if head[4:8] in _MP4_FIRST_BOXES:
        return MediaKind.MP4
    if len(head) > _TS_PACKET_BYTES and all(byte == 0x47 for byte in head[::_TS_PACKET_BYTES]):
        return MediaKind.MPEGTS
    return None


def is_cut_off(file: BinaryIO, kind: MediaKind, file_bytes: int) -> bool:
    """Whether the file's own structure announces more bytes than there are. Transport streams announce nothing."""
    file.seek(0)
    if kind is MediaKind.MP4:
        return _mp4_cut_off(file, file_bytes)
    if kind is MediaKind.AVI:
        return _avi_cut_off(file.read(8), file_bytes)
    if kind is MediaKind.MATROSKA:
        return _matroska_cut_off(file.read(SNIFF_BYTES), file_bytes)
    return False


def _mp4_cut_off(file: BinaryIO, file_bytes: int) -> bool:
    """A top-level box reaches past the end, or the boxes end without the index."""
    start, indexed = 0, False
    for _ in range(_MAX_BOXES):
        if start + 8 > file_bytes:
            return not indexed
        file.seek(start)
        header = file.read(16)
        indexed = indexed or header[4:8] in (b"moov", b"moof")
        size = int.from_bytes(header[:4], "big")
        if size == 1:
            size = int.from_bytes(header[8:16], "big")
        if size == 0:
            return not indexed
        if size < 8:
            return False
        start += size
        if start > file_bytes:
            return True
    return False


def _avi_cut_off(head: bytes, file_bytes: int) -> bool:
    return 8 + int.from_bytes(head[4:8], "little") > file_bytes + 1


def _matroska_cut_off(head: bytes, file_bytes: int) -> bool:
    header = _ebml_size(head, len(_EBML))
    if header is None:
        return False
    start = header[0] + header[1]
    if head[start : start + 4] != _SEGMENT:
        return False
    segment = _ebml_size(head, start + len(_SEGMENT))
    return segment is not None and segment[0] + segment[1] > file_bytes


def _ebml_size(data: bytes, offset: int) -> tuple[int, int] | None:
    """(offset behind the size, size) of the variable-length number at `offset`; None if absent or "unknown"."""
    if offset >= len(data) or data[offset] == 0:
        return None
    length = 9 - data[offset].bit_length()
    raw = data[offset : offset + length]
    value = int.from_bytes(raw, "big") & ((1 << 7 * length) - 1)
    if len(raw) < length or value == (1 << 7 * length) - 1:
        return None
    return offset + length, value
