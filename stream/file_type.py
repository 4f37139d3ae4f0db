"""File type detection by first bytes, and truncation detection by the file's own sizes. Decodes nothing.

File names, extensions and content types from clients are ignored.
"""

from __future__ import annotations

import io
from enum import StrEnum
from typing import BinaryIO

SNIFF_BYTES = 1024

_TS_PACKET_BYTES, _M2TS_PACKET_BYTES, _TS_SYNC = 188, 192, 0x47
_TS_PACKETS = 4
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_MP4_FIRST_BOXES = frozenset((b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"))
_AVIF_BRANDS = frozenset((b"avif", b"avis"))
_HEIF_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"))
_MAX_BOXES = 10_000


class MediaKind(StrEnum):
    """File kinds that are judged. Values for videos are FFmpeg's demuxer names."""

    MP4 = "mp4"             # and MOV, M4V, 3GP
    AVI = "avi"
    MATROSKA = "matroska"   # and WebM
    MPEGTS = "mpegts"       # and M2TS
    MPEGPS = "mpeg"         # MPEG programme stream
    FLV = "flv"
    JPEG = "jpeg"
    PNG = "png"
    WEBP = "webp"
    GIF = "gif"
    BMP = "bmp"
    TIFF = "tiff"
    AVIF = "avif"
    HEIF = "heif"           # HEIC

    @property
    def is_picture(self) -> bool:
        return self in _PICTURES


_PICTURES = frozenset((
    MediaKind.JPEG, MediaKind.PNG, MediaKind.WEBP, MediaKind.GIF, MediaKind.BMP, MediaKind.TIFF, MediaKind.AVIF,
    MediaKind.HEIF,
))  # fmt: skip
_MAGIC = {
    b"\xff\xd8\xff": MediaKind.JPEG,
    b"\x89PNG\r\n\x1a\n": MediaKind.PNG,
    b"GIF87a": MediaKind.GIF,
    b"GIF89a": MediaKind.GIF,
    b"II*\x00": MediaKind.TIFF,
    b"MM\x00*": MediaKind.TIFF,
    b"FLV\x01": MediaKind.FLV,
    b"\x00\x00\x01\xba": MediaKind.MPEGPS,
    _EBML: MediaKind.MATROSKA,
}
_RIFF = {b"AVI ": MediaKind.AVI, b"WEBP": MediaKind.WEBP}
KIND_NAMES = "JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, HEIC, MP4, MOV, AVI, MKV, WebM, FLV, MPEG-PS and MPEG-TS"


def sniff(head: bytes) -> MediaKind | None:
    """Returns the kind of a file that starts with `head` (its first 1024 bytes), or None for an unsupported kind."""
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            return kind
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12])
    if head[:2] == b"BM" and head[6:10] == bytes(4):
        return MediaKind.BMP
    if head[4:8] == b"ftyp":
        return _kind_of_brands(head)
    if head[4:8] in _MP4_FIRST_BOXES:
        return MediaKind.MP4
    return MediaKind.MPEGTS if _has_ts_packets(head) else None


def _kind_of_brands(head: bytes) -> MediaKind:
    """Returns the kind by the brands of the first box, since pictures and MP4 share a container."""
    box = head[: int.from_bytes(head[:4], "big")]
    major, all_brands = box[8:12], {box[8:12], *(box[at : at + 4] for at in range(16, len(box) - 3, 4))}
    if major not in _AVIF_BRANDS | _HEIF_BRANDS:
        return MediaKind.MP4
    return MediaKind.AVIF if all_brands & _AVIF_BRANDS else MediaKind.HEIF


def _has_ts_packets(head: bytes) -> bool:
    """Whether four packets in a row start with a sync byte. Packets have 188 bytes, or 192 in M2TS.

    The file may begin within a packet.
    """
    for length in (_TS_PACKET_BYTES, _M2TS_PACKET_BYTES):
        for start in range(length):
            syncs = head[start::length]
            if len(syncs) >= _TS_PACKETS and all(byte == _TS_SYNC for byte in syncs):
                return True
    return False


def plays_until_cut(file: BinaryIO, kind: MediaKind) -> bool:
    """Whether a truncated file can be played up to the cut: a fragmented MP4 whose first fragment is whole."""
    if kind is not MediaKind.MP4:
        return False
    file.seek(0, io.SEEK_END)
    file_bytes, start, fragment = file.tell(), 0, False
    for _ in range(_MAX_BOXES):
        file.seek(start)
        header = file.read(8)
        size = int.from_bytes(header[:4], "big")
        if len(header) < 8 or size < 8 or start + size > file_bytes:
            return False
        if fragment and header[4:8] == b"mdat":
            return True
        fragment = fragment or header[4:8] == b"moof"
        start += size
    return False


def is_cut_off(file: BinaryIO, kind: MediaKind, file_bytes: int) -> bool:
    """Whether the file's own structure announces more bytes than there are. Transport streams announce none."""
    file.seek(0)
    if kind is MediaKind.MP4:
        return _mp4_cut_off(file, file_bytes)
    if kind is MediaKind.AVI:
        return _avi_cut_off(file.read(8), file_bytes)
    if kind is MediaKind.MATROSKA:
        return _matroska_cut_off(file.read(SNIFF_BYTES), file_bytes)
    return False


def _mp4_cut_off(file: BinaryIO, file_bytes: int) -> bool:
    """Whether a top-level box reaches past the end, or the boxes end without the index."""
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
    """Returns (offset after the size, size) of the variable-length number at `offset`; None if absent or "unknown"."""
    if offset >= len(data) or data[offset] == 0:
        return None
    length = 9 - data[offset].bit_length()
    raw = data[offset : offset + length]
    value = int.from_bytes(raw, "big") & ((1 << 7 * length) - 1)
    if len(raw) < length or value == (1 << 7 * length) - 1:
        return None
    return offset + length, value
