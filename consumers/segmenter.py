"""Segmenter: splits a file or live source into pictures, access units or segments. Blocks; run it in a thread."""

from __future__ import annotations

import io
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import av
import cv2

from consumers.errors import SourceUnreadable
from consumers.media_contract import ContentType
from consumers.record_form import RecordForm
from stream.access_units import AccessUnits
from stream.codecs import BY_FFMPEG, VIDEO_CODECS
from stream.display_picture import ShownFrames, display_of_packet
from stream.display_transform import AS_DECODED, DisplayTransform
from stream.unit_decoder import DECODER_ERRORS

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

TIMEBASE = Fraction(1, 90_000)

_FORMATS = {ContentType.MP4: "mp4", ContentType.WEBM: "webm"}
_UNITS = {row.ffmpeg: ContentType(row.content_type) for row in VIDEO_CODECS}
_SEGMENTS = {
    row.ffmpeg: next(kind for kind, name in _FORMATS.items() if name == row.segment_format) for row in VIDEO_CODECS
}
_MUXING = {"mp4": {"movflags": "frag_keyframe+empty_moov+default_base_moof"}, "webm": {}}
_TIMEOUT_S = (10.0, 10.0)       # for opening, and between two packets
_FALLBACK_TICKS = 3600          # 25 frames/s


@dataclass(frozen=True, slots=True)
class SegmenterOptions:
    """How to split media.

    `fps` is the maximum of pictures per second (0: all), `quality` their JPEG quality, 1 to 100. A segment starts at a
    key frame and lasts at least `segment_s` seconds. Frames of open GOPs that refer to the segment before cannot be
    decoded.
    """

    form: RecordForm
    fps: float = 0.0
    quality: int = 95
    segment_s: float = 2.0


class MediaPiece(NamedTuple):
    """The payload of one record. `ticks`: presentation time since the first frame, in 1/90000 s; so is `duration`."""

    content_type: ContentType
    ticks: int
    duration: int
    payload: bytes
    keyframe: bool = True
    display: DisplayTransform = AS_DECODED


def media_pieces(source: str, options: SegmenterOptions) -> Generator[MediaPiece]:
    """Yields all pieces of the source's first video track, in decoding order. Raises SourceUnreadable."""
    try:
        with av.open(source, timeout=_TIMEOUT_S) as container:
            stream = next(iter(container.streams.video), None)
            if stream is None:
                raise SourceUnreadable(f"{redacted(source)} has no video track")
            stream.codec_context.thread_count = 1
            yield from _FORMS[options.form](container, stream, options)
    except DECODER_ERRORS as error:
        raise SourceUnreadable(f"{redacted(source)} cannot be read: {type(error).__name__}") from None


def source_length_s(source: str) -> float | None:
    """Returns the duration of the source in seconds, None if unknown. Raises SourceUnreadable."""
    try:
        with av.open(source, timeout=_TIMEOUT_S) as container:
            return container.duration / av.time_base if container.duration else None
    except DECODER_ERRORS as error:
        raise SourceUnreadable(f"{redacted(source)} cannot be read: {type(error).__name__}") from None


def redacted(source: str) -> str:
    """Returns a path or URL without login, query and fragment, for messages."""
    if "://" not in source:
        return source
    parts = urlsplit(source)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _frames(container: Any, stream: Any, options: SegmenterOptions) -> Iterator[MediaPiece]:
    step = round(1 / (options.fps * TIMEBASE)) if options.fps else 0
    due = 0
    quality = [cv2.IMWRITE_JPEG_QUALITY, options.quality]
    clock = _Clock(stream)
    frames = ShownFrames(stream)
    for frame in container.decode(stream):
        ticks = clock.ticks(frame)
        if ticks is None or ticks < due:
            continue
        due = max(due + step, ticks - ticks % step + step) if step else 0
        _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(frames.rgb(frame), cv2.COLOR_RGB2BGR), quality)
        yield MediaPiece(ContentType.JPEG, ticks, max(clock.duration(frame), step), jpeg.tobytes())


def _units(container: Any, stream: Any, options: SegmenterOptions) -> Iterator[MediaPiece]:
    content_type = _content_type(stream, _UNITS, options)
    units = AccessUnits(stream, BY_FFMPEG[stream.codec_context.codec.canonical_name])
    display: DisplayTransform | None = None
    clock = _Clock(stream)
    for packet in _packets(container, stream):
        ticks = clock.ticks(packet)
        if ticks is None:
            continue
        duration, keyframe = clock.duration(packet), packet.is_keyframe
        display = display or display_of_packet(stream, packet) if keyframe else display
        payload = b"".join(payload for _, payload in units.of(packet))
        yield MediaPiece(content_type, ticks, duration, payload, keyframe, display or AS_DECODED)


def _segments(container: Any, stream: Any, options: SegmenterOptions) -> Iterator[MediaPiece]:
    content_type = _content_type(stream, _SEGMENTS, options)
    clock = _Clock(stream)
    group: list[Any] = []
    start = end = 0
    for packet in _packets(container, stream):
        ticks = clock.ticks(packet)
        if ticks is None:
            continue
        if group and packet.is_keyframe and (ticks - start) * TIMEBASE >= options.segment_s:
            yield MediaPiece(content_type, start, end - start, _muxed(group, stream, _FORMATS[content_type]))
            group = []
        start = start if group else ticks
        end = max(end, ticks + clock.duration(packet))
        group.append(packet)
    if group:
        yield MediaPiece(content_type, start, end - start, _muxed(group, stream, _FORMATS[content_type]))


_FORMS = {RecordForm.FRAMES: _frames, RecordForm.UNITS: _units, RecordForm.SEGMENTS: _segments}


class _Clock:
    """Converts times of packets or frames to ticks since the first; None for hidden and for earlier ones."""

    def __init__(self, stream: Any) -> None:
        self._first: Fraction | None = None
        rate = stream.average_rate or stream.guessed_rate
        self._frame_ticks = round(1 / (rate * TIMEBASE)) if rate else _FALLBACK_TICKS

    def ticks(self, timed: Any) -> int | None:
        if timed.pts is None:
            return None
        at = timed.pts * timed.time_base
        self._first = at if self._first is None else self._first
        ticks = round((at - self._first) / TIMEBASE)
        return ticks if ticks >= 0 else None

    def duration(self, timed: Any) -> int:
        return round(timed.duration * timed.time_base / TIMEBASE) if timed.duration else self._frame_ticks


def _packets(container: Any, stream: Any) -> Iterator[Any]:
    """Yields packets from the first key frame on; earlier ones cannot be decoded."""
    is_started = False
    for packet in container.demux(stream):
        is_started = is_started or packet.is_keyframe
        if packet.size and is_started:
            yield packet


def _content_type(stream: Any, allowed: dict[str, ContentType], options: SegmenterOptions) -> ContentType:
    codec = stream.codec_context.codec.canonical_name
    if codec not in allowed:
        raise SourceUnreadable(
            f"{codec} cannot be published as {options.form}, only {', '.join(allowed)} can; publish it as frames"
        )
    return allowed[codec]


def _muxed(group: list[Any], stream: Any, container_format: str) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=container_format, options=_MUXING[container_format]) as muxer:
        track = muxer.add_stream_from_template(stream)
        for packet in group:
            packet.stream = track
            muxer.mux(packet)
    return file.getvalue()
