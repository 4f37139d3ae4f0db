"""Segment decoder: opens each MP4, WebM or MPEG-TS segment by itself, and yields its pictures one by one."""

from __future__ import annotations

import io
from functools import partial
from typing import TYPE_CHECKING, Any

import av

from stream.display_picture import ShownFrames
from stream.errors import MediaRefused
from stream.file_type import SNIFF_BYTES, MediaKind, is_cut_off, sniff
from stream.sources.video_file import OPEN_OPTIONS, video_stream
from stream.types import Codec
from stream.unit_decoder import DECODER_ERRORS, DecodedPicture, DecodedUnit, build_decoder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream.media_limits import MediaLimits
    from stream.types import MediaUnit
    from stream.unit_decoder import UnitDecoder

_KINDS = (MediaKind.MP4, MediaKind.MATROSKA, MediaKind.MPEGTS)


def decoder_for(codec: Codec, limits: MediaLimits) -> UnitDecoder:
    """Returns the decoder for media units of this codec."""
    return SegmentDecoder(limits) if codec is Codec.SEGMENT else build_decoder(codec, limits)


class SegmentDecoder:
    """Decodes segments independently: no state carries over from one to the next."""

    def __init__(self, limits: MediaLimits) -> None:
        self._limits = limits

    def decode(self, unit: MediaUnit) -> DecodedUnit:
        return DecodedUnit(pictures=self._pictures(unit))

    def flush(self) -> tuple[DecodedPicture, ...]:
        return ()

    def _pictures(self, unit: MediaUnit) -> Iterator[DecodedPicture]:
        """Yields the pictures; the first is shown at the unit's time. Raises MediaRefused if the segment ends early."""
        kind = _kind(unit.payload)
        try:
            with av.open(io.BytesIO(unit.payload), format=kind.value, options=dict(OPEN_OPTIONS)) as container:
                yield from self._decoded(unit, container)
        except DECODER_ERRORS as error:
            raise MediaRefused("undecodable", f"the segment cannot be decoded as {kind.upper()}") from error

    def _decoded(self, unit: MediaUnit, container: Any) -> Iterator[DecodedPicture]:
        stream = video_stream(container, self._limits)
        shown_rgb = ShownFrames(stream).rgb
        first_s: float | None = None
        for count, frame in enumerate(container.decode(stream)):
            self._limits.check_video(frame.width, frame.height)
            if frame.is_corrupt:
                raise MediaRefused("undecodable", "a frame of the segment is damaged")
            first_s = frame.time if first_s is None else first_s
            if frame.time is None or first_s is None:
                raise MediaRefused("undecodable", "a frame of the segment has no time")
            at_s = frame.time - first_s
            self._limits.check_length(at_s, count)
            yield DecodedPicture(unit.sequence, unit.pts_s + at_s, unit.capture_s + at_s, partial(shown_rgb, frame))


def _kind(payload: bytes) -> MediaKind:
    kind = sniff(payload[:SNIFF_BYTES])
    if kind not in _KINDS:
        raise MediaRefused("unsupported_media", "the segment is no MP4, WebM or MPEG-TS", 415)
    if is_cut_off(io.BytesIO(payload), kind, len(payload)):
        raise MediaRefused("truncated", "the segment ends before its content does")
    return kind
