"""Packets of a container turned into access units that a decoder understands without the container."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import av

from stream.codecs import BY_FFMPEG
from stream.types import Codec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream.codecs import VideoCodec

_AV1C_MARKER, _AV1C_BYTES = b"\x81", 4


def codec_of(stream: Any) -> VideoCodec | None:
    """Returns the codec row of a container's video stream; None for a codec that is not in the table."""
    return BY_FFMPEG.get(stream.codec_context.codec.canonical_name)


class AccessUnits:
    """Converts the packets of one stream whose codec is in the table.

    H.264 and H.265 get start codes and parameter sets in band. AV1 gets its sequence header at key frames: MP4 and WebM
    may keep it in their header alone (AV1 in ISOBMFF 2.3.3: `av1C`, four bytes before the header).
    """

    def __init__(self, stream: Any, codec: VideoCodec) -> None:
        self._filter = av.BitStreamFilterContext(codec.annex_b, stream) if codec.annex_b else None
        configuration = bytes(stream.codec_context.extradata or b"") if codec.codec is Codec.AV1 else b""
        self._header = configuration[_AV1C_BYTES:] if configuration.startswith(_AV1C_MARKER) else b""

    def of(self, packet: Any) -> Iterator[tuple[Any, bytes]]:
        """Yields (packet with its times, payload) of the units in a packet; an empty packet flushes the filter."""
        for plain in (packet,) if self._filter is None or not packet.size else self._filter.filter(packet):
            yield plain, self._header + bytes(plain) if plain.is_keyframe else bytes(plain)
