"""Unit decoder: decodes a live stream's media units to pictures, and survives damaged media.

The decoder waits for a key frame at the start, after a missing unit and after a failed unit. Pictures that FFmpeg
concealed are dropped: concealment artefacts look like manipulated faces.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import av
import av.error

from stream.codecs import BY_CODEC
from stream.display_picture import PictureConverter, oriented
from stream.errors import DecodeFailed, MediaRefused
from stream.still_images import decode_still
from stream.types import Codec, DropCause

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import numpy as np
    from numpy.typing import NDArray

    from stream.display_transform import DisplayTransform
    from stream.media_limits import MediaLimits
    from stream.types import MediaUnit

    VideoContext = Any      # av.VideoCodecContext; av's stubs lack `options`

MIN_LIBAVFORMAT = (62, 12, 102)     # FFmpeg 8.1.2
# Errors that av raises for bad media. FFmpegError does not cover all (UnicodeDecodeError is a ValueError).
DECODER_ERRORS = (av.error.FFmpegError, ValueError, ArithmeticError, LookupError, RuntimeError, MemoryError, OSError)

_MAX_PENDING = 64


def check_libraries() -> None:
    """Raises DecodeFailed if the FFmpeg libraries lack known security fixes."""
    found = tuple(av.library_versions["libavformat"])
    if found < MIN_LIBAVFORMAT:
        raise DecodeFailed(f"libavformat {found} is older than {MIN_LIBAVFORMAT}")


@dataclass(frozen=True, slots=True, eq=False)
class DecodedPicture:
    """One decoded picture with the times of its unit, converted on demand.

    `rgb` returns uint8 (h, w, 3), upright and in square pixels.
    """

    sequence: int
    pts_s: float
    capture_s: float
    rgb: Callable[[], NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class DecodedUnit:
    """Result of one unit: its pictures, or the cause of its drop. `keyframe_needed` while only a key frame helps.

    Pictures of a segment are decoded one by one as they are taken, which may raise MediaRefused.
    """

    pictures: Iterable[DecodedPicture] = ()
    dropped: DropCause | None = None
    keyframe_needed: bool = False


class UnitDecoder(Protocol):
    """Decodes one stream. Blocks for milliseconds; raises nothing by itself."""

    def decode(self, unit: MediaUnit) -> DecodedUnit: ...

    def flush(self) -> tuple[DecodedPicture, ...]:
        """Returns the pictures that the decoder still holds at the end of the stream."""
        ...


def build_decoder(codec: Codec, limits: MediaLimits) -> UnitDecoder:
    """Returns the decoder for still pictures or access units; `stream.segment_decoder` handles segments."""
    if codec in (Codec.JPEG, Codec.PNG):
        return StillDecoder(limits)
    return VideoDecoder(codec, limits)


class StillDecoder:
    """Decodes still pictures, each by itself."""

    def __init__(self, limits: MediaLimits) -> None:
        self._limits = limits

    def decode(self, unit: MediaUnit) -> DecodedUnit:
        try:
            rgb = decode_still(unit.payload, self._limits)
        except MediaRefused as refused:
            too_large = refused.code == "too_large"
            return DecodedUnit(dropped=DropCause.TOO_LARGE if too_large else DropCause.DECODE_ERROR)
        except MemoryError:
            return DecodedUnit(dropped=DropCause.TOO_LARGE)
        picture = oriented(rgb, unit.display)
        return DecodedUnit(pictures=(DecodedPicture(unit.sequence, unit.pts_s, unit.capture_s, lambda: picture),))

    def flush(self) -> tuple[DecodedPicture, ...]:
        return ()


class _Origin(NamedTuple):
    """Data of a unit, kept until its frame is decoded."""

    pts_s: float
    capture_s: float
    display: DisplayTransform


class VideoDecoder:
    """Decodes the access units of one video codec."""

    def __init__(self, codec: Codec, limits: MediaLimits) -> None:
        self._codec = codec
        self._limits = limits
        self._context: VideoContext = av.CodecContext.create(BY_CODEC[codec].decoder, "r")
        self._context.thread_count = 1
        self._context.options = {"max_pixels": str(limits.video_pixels)}
        self._open = False
        self._expected: int | None = None
        self._pending: OrderedDict[int, _Origin] = OrderedDict()
        self._converter = PictureConverter()

    def decode(self, unit: MediaUnit) -> DecodedUnit:
        if unit.sequence != self._expected:
            self._wait_for_keyframe()
        self._expected = unit.sequence + 1
        if not (self._open or unit.keyframe):
            return DecodedUnit(dropped=DropCause.NO_KEYFRAME, keyframe_needed=True)
        if self._exceeds_limit(unit.payload):
            return self._fail(DropCause.TOO_LARGE)
        self._open = True
        self._remember(unit)
        try:
            frames = self._context.decode(self._packet(unit))
        except DECODER_ERRORS:
            context = self._context
            too_large = self._limits.video_excess(context.width, context.height) is not None
            return self._fail(DropCause.TOO_LARGE if too_large else DropCause.DECODE_ERROR)
        return self._deliver(frames)

    def flush(self) -> tuple[DecodedPicture, ...]:
        try:
            frames = self._context.decode(None) if self._open else []
            pictures = tuple(self._deliver(frames).pictures)
        except DECODER_ERRORS:
            pictures = ()
        self._wait_for_keyframe()
        return pictures

    def _packet(self, unit: MediaUnit) -> av.Packet[Any]:
        packet = av.Packet(unit.payload)
        packet.pts = packet.dts = unit.sequence
        packet.time_base = Fraction(1)
        return packet

    def _deliver(self, frames: Iterable[av.VideoFrame]) -> DecodedUnit:
        pictures: list[DecodedPicture] = []
        for frame in frames:
            if self._limits.video_excess(frame.width, frame.height) is not None:
                return self._fail(DropCause.TOO_LARGE)
            if frame.is_corrupt:
                return self._fail(DropCause.DECODE_ERROR)
            if frame.pts is not None and (unit := self._pending.get(frame.pts)) is not None:
                rgb = partial(self._converter.rgb, frame, unit.display, float(self._context.sample_aspect_ratio or 0))
                pictures.append(DecodedPicture(frame.pts, unit.pts_s, unit.capture_s, rgb))
        return DecodedUnit(pictures=tuple(pictures))

    def _fail(self, cause: DropCause) -> DecodedUnit:
        self._wait_for_keyframe()
        return DecodedUnit(dropped=cause, keyframe_needed=True)

    def _wait_for_keyframe(self) -> None:
        if self._open:
            self._context.flush_buffers()
        self._open = False
        self._pending.clear()

    def _remember(self, unit: MediaUnit) -> None:
        self._pending[unit.sequence] = _Origin(unit.pts_s, unit.capture_s, unit.display)
        while len(self._pending) > _MAX_PENDING:
            self._pending.popitem(last=False)

    def _exceeds_limit(self, payload: bytes) -> bool:
        """Whether a VP8 header exceeds the size limit. FFmpeg reports this excess as a generic invalid argument."""
        if self._codec is not Codec.VP8 or len(payload) < 10 or payload[3:6] != b"\x9d\x01\x2a":
            return False
        width_px, height_px = (int.from_bytes(payload[k : k + 2], "little") & 0x3FFF for k in (6, 8))
        return self._limits.video_excess(width_px, height_px) is not None
