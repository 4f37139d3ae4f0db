"""H.264 in FLV and RTMP video messages, converted to Annex-B. Pure."""

from __future__ import annotations

from typing import NamedTuple

from api.ingest.pull.errors import PullFailed

_START_CODE = b"\0\0\0\1"
_KEY, _AVC = 1, 7
_SEQUENCE_HEADER, _FRAME, _FRAME_WITHOUT_OFFSET = 0, 1, 3
_SPS = 7


class VideoFrame(NamedTuple):
    """`offset_ms` is the composition time offset: presentation minus decoding time."""

    payload: bytes
    offset_ms: int
    keyframe: bool


class AvcReader:
    """Converts video messages; inserts the last parameter sets before key frames that lack them."""

    def __init__(self) -> None:
        self._sets = b""
        self._length_bytes = 4

    def read(self, tag: bytes) -> VideoFrame | None:
        """Converts one video message; returns None if it holds no frame.

        Raises PullFailed (unsupported_codec, protocol_error).
        """
        if len(tag) < 5:
            return None
        form, kind, body = _opened(tag)
        if kind == _SEQUENCE_HEADER:
            self._configure(body)
            return None
        if kind not in (_FRAME, _FRAME_WITHOUT_OFFSET):
            return None
        offset_ms = 0
        if kind == _FRAME:
            offset_ms = int.from_bytes(body[:3], "big", signed=True)
            body = body[3:]
        keyframe = form == _KEY
        units = self._units(body)
        has_sets = any(unit[0] & 0x1F == _SPS for unit in units)
        payload = b"".join(_START_CODE + unit for unit in units)
        return VideoFrame(self._sets + payload if keyframe and not has_sets else payload, offset_ms, keyframe)

    def _units(self, body: bytes) -> list[bytes]:
        units, at = [], 0
        while at < len(body):
            start = at + self._length_bytes
            at = start + int.from_bytes(body[at:start], "big")
            if at > len(body) or at == start:
                raise PullFailed("protocol_error", "a video frame is truncated")
            units.append(body[start:at])
        return units

    def _configure(self, body: bytes) -> None:
        """Reads an AVCDecoderConfigurationRecord (ISO 14496-15 5.3.3)."""
        if len(body) < 7 or body[0] != 1:
            raise PullFailed("protocol_error", "the parameter sets of the video are truncated")
        self._length_bytes = (body[4] & 3) + 1
        sps, rest = _sets(body[6:], body[5] & 0x1F)
        pps, _ = _sets(rest[1:], rest[0] if rest else 0)
        self._sets = sps + pps


def _opened(tag: bytes) -> tuple[int, int, bytes]:
    """Returns frame type, packet type and body, from the classic header or that of Enhanced RTMP."""
    if tag[0] & 0x80:
        if tag[1:5] != b"avc1":
            raise PullFailed("unsupported_codec", "RTMP sources must send H.264; this one has another codec", True)
        kind = tag[0] & 0x0F
        return tag[0] >> 4 & 7, kind, tag[5:]
    if tag[0] & 0x0F != _AVC:
        raise PullFailed("unsupported_codec", "RTMP sources must send H.264; this one has another codec", True)
    is_header = tag[1] == _SEQUENCE_HEADER
    return tag[0] >> 4, tag[1], tag[5:] if is_header else tag[2:]


def _sets(data: bytes, count: int) -> tuple[bytes, bytes]:
    """Returns `count` parameter sets as Annex-B, and the bytes after them."""
    found = b""
    for _ in range(count):
        end = 2 + int.from_bytes(data[:2], "big")
        if end > len(data):
            raise PullFailed("protocol_error", "the parameter sets of the video are truncated")
        found += _START_CODE + data[2:end]
        data = data[end:]
    return found, data
