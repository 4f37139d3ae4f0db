"""Video file: opened under every limit, indexed without decoding, then decoded only for the wanted frames.

All work is divided into steps. The iterators here yield None when a step is over and no result is ready.
"""

from __future__ import annotations

import stat
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import av

from stream.display_picture import ShownFrames
from stream.errors import MediaRefused
from stream.file_type import KIND_NAMES, SNIFF_BYTES, MediaKind, is_cut_off, plays_until_cut, sniff
from stream.media_limits import too_large
from stream.sources.sampling_plan import PacketEntry, PacketIndex, plan_samples
from stream.unit_decoder import DECODER_ERRORS

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from stream.media_limits import MediaLimits
    from stream.sources.sampling_plan import SampleTarget, SamplingPlan

    VideoStream = Any       # av.VideoStream; av's stubs are incomplete

# FFmpeg's names of allowed demuxers, allowed codecs, and decoders allowed for probing.
FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,mpegts,avi,mpeg,flv"
CODECS = frozenset((
    "h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "mjpeg", "mpeg1video", "mpeg2video", "h263", "flv1", "prores",
))  # fmt: skip
_PROBING_DECODERS = ",".join(sorted(CODECS | {"libdav1d"}))

OPEN_OPTIONS = {
    "format_whitelist": FORMATS,
    "protocol_whitelist": "file",
    "codec_whitelist": _PROBING_DECODERS,   # probing decodes too, before the codec can be checked
    "probesize": "5000000",
    "analyzeduration": "5000000",
    "max_streams": "32",
}
_TIMEOUT_S = (5.0, 5.0)
_STEP_S = 0.02
_FALLBACK_FPS = 25.0


@dataclass(frozen=True, slots=True)
class Sampling:
    """Sampling of a video: at most `max_samples` frames at `rate_hz` per second, spread over the whole file.

    A short video is sampled more densely, at up to `short_rate_hz` until `short_samples` are reached.
    """

    max_samples: int
    rate_hz: float
    short_samples: int = 32
    short_rate_hz: float = 5.0

    def rate_of(self, duration_s: float) -> float:
        """Returns the samples per second for a video of this length."""
        if duration_s <= 0:
            return self.short_rate_hz
        return max(self.rate_hz, min(self.short_rate_hz, self.short_samples / duration_s))


@dataclass(frozen=True, slots=True, eq=False)
class FileSample:
    """One wanted frame: `rgb` is uint8 (h, w, 3); `pts_s` counts from the file's first frame."""

    frame_number: int
    pts_s: float
    rgb: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """Facts about a video: `total_frames` was counted; `bad_frames` could not be decoded or trusted."""

    container: str
    codec: str
    total_frames: int
    duration_s: float
    fps: float
    bad_frames: int = 0


def identify(path: Path, limits: MediaLimits) -> MediaKind:
    """Returns the kind of a regular file that is whole and within the size limit.

    Raises MediaRefused: empty_file, unsupported_media, too_large or truncated.
    """
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise MediaRefused("unsupported_media", "not a regular file", 415)
    if status.st_size == 0:
        raise MediaRefused("empty_file", "the file is empty", 400)
    with path.open("rb") as file:
        kind = sniff(file.read(SNIFF_BYTES))
        if kind is None:
            raise MediaRefused("unsupported_media", f"the content is not supported; supported are {KIND_NAMES}", 415)
        limit_bytes = limits.picture_bytes if kind.is_picture else limits.file_bytes
        if status.st_size > limit_bytes:
            raise too_large(f"the file has {status.st_size} bytes; at most {limit_bytes} are allowed")
        if is_cut_off(file, kind, status.st_size) and not plays_until_cut(file, kind):
            raise MediaRefused("truncated", f"the {kind.upper()} file is cut off; send the complete file")
    return kind


class VideoFile:
    """Extracts the wanted frames of one video file.

    `facts` and `planned` are known after the first sample; `facts.bad_frames` is final at the end.
    """

    def __init__(self, path: Path, kind: MediaKind, limits: MediaLimits) -> None:
        self._path = path
        self._kind = kind
        self._limits = limits
        self.planned = 0
        self.facts = VideoFacts(kind.value, "", 0, 0.0, 0.0)

    def samples(self, sampling: Sampling) -> Iterator[FileSample | None]:
        """Yields the wanted frames in order, with None between steps.

        Raises MediaRefused: unsupported_media, no_video, no_frames, too_large, undecodable.
        """
        with self._open() as container:
            index = yield from self._index(container, video_stream(container, self._limits))
        plan = plan_samples(index, sampling.max_samples, sampling.rate_of(index.duration_s))
        self.planned = len(plan.targets)
        with self._open() as container:
            yield from _Extraction(self, index, plan).run(container, video_stream(container, self._limits))

    def count_bad(self) -> None:
        self.facts = replace(self.facts, bad_frames=self.facts.bad_frames + 1)

    def check_frame(self, width_px: int, height_px: int) -> None:
        """Raises MediaRefused (too_large)."""
        self._limits.check_video(width_px, height_px)

    def _open(self) -> Any:
        options = dict(OPEN_OPTIONS)
        try:
            return av.open(str(self._path), format=self._kind.value, timeout=_TIMEOUT_S, options=options)
        except DECODER_ERRORS as error:
            raise MediaRefused("undecodable", f"the file cannot be read as {self._kind.upper()}") from error

    def _index(self, container: Any, stream: VideoStream) -> Generator[None, None, PacketIndex]:
        entries: list[PacketEntry] = []
        pace = _Pace()
        try:
            for packet in container.demux(stream):
                if packet.size:
                    entries.append(_entry(packet))
                self._limits.check_length(0.0, len(entries))
                if pace.is_over():
                    yield
                    pace.restart()
        except DECODER_ERRORS:
            self.count_bad()        # the packets read so far may still be whole
        fps = float(stream.average_rate or stream.guessed_rate or _FALLBACK_FPS)
        index = PacketIndex(
            entries=tuple(entries),
            tick_s=float(stream.time_base),
            fps=fps,
            ordered_times=self._kind is not MediaKind.AVI,      # AVI has decoding times only
        )
        self._limits.check_length(index.duration_s, index.frames)
        codec = stream.codec_context.codec.canonical_name
        self.facts = replace(
            self.facts, codec=codec, total_frames=index.frames, duration_s=index.duration_s, fps=fps
        )
        if not index.frames:
            raise MediaRefused("no_frames", "the video holds no frame")
        return index


class _Extraction:
    """One pass over the packets that decodes only what the plan needs."""

    def __init__(self, video: VideoFile, index: PacketIndex, plan: SamplingPlan) -> None:
        self._video = video
        self._is_timed = plan.is_timed
        self._origin = index.times[0] if self._is_timed else 0
        self._tick_s = index.tick_s if self._is_timed else 1 / index.fps
        self._plan = plan
        self._next = 0
        self._resume = self._start_of_next()
        self._counted = 0
        self._tainted = False
        self._delivered = 0

    def run(self, container: Any, stream: VideoStream) -> Iterator[FileSample | None]:
        context = stream.codec_context
        shown = ShownFrames(stream)
        pace = _Pace()
        for packet in self._packets(container, stream, context):
            for frame in self._decode(context, packet):
                sample = self._take(frame, shown)
                if sample is not None:
                    yield sample
                    pace.restart()
            if self._is_done:
                return
            if pace.is_over():
                yield None
                pace.restart()
        if not self._delivered:
            bad = self._video.facts.bad_frames
            raise MediaRefused("undecodable", f"no frame of the video can be decoded ({bad} failed)")

    def _packets(self, container: Any, stream: VideoStream, context: Any) -> Iterator[Any]:
        """Yields the needed packets, then None to flush the decoder."""
        skipped = False
        try:
            for position, packet in enumerate(p for p in container.demux(stream) if p.size):
                if position < self._resume:
                    skipped = True
                    continue
                if skipped and context.is_open:
                    context.flush_buffers()
                skipped = False
                yield packet
        except DECODER_ERRORS:
            self._video.count_bad()
        yield None

    def _decode(self, context: Any, packet: Any) -> list[av.VideoFrame]:
        try:
            return list(context.decode(packet))
        except DECODER_ERRORS:
            self._video.check_frame(context.width, context.height)
            self._video.count_bad()
            self._tainted = True
            return []

    def _take(self, frame: av.VideoFrame, shown: ShownFrames) -> FileSample | None:
        """Returns the sample if this frame is wanted and whole."""
        self._video.check_frame(frame.width, frame.height)
        at = frame.pts if self._is_timed else self._counted
        self._counted += 1
        if not self._is_whole(frame) or at is None or self._is_done or at < self._target.at:
            return None
        rgb = shown.rgb(frame)
        number = self._target.frame_number if at == self._target.at else self._number_of(at)
        while not self._is_done and self._target.at <= at:
            self._next += 1
        self._resume = self._start_of_next()
        self._delivered += 1
        return FileSample(number, (at - self._origin) * self._tick_s, rgb)

    def _is_whole(self, frame: av.VideoFrame) -> bool:
        """Whether neither this frame nor any since the last key frame was concealed by the decoder."""
        if frame.is_corrupt:
            self._tainted = True
        elif frame.key_frame:
            self._tainted = False
        if self._tainted:
            self._video.count_bad()
        return not self._tainted

    def _number_of(self, at: int) -> int:
        """Returns the frame number of a frame that replaces a missing one."""
        if not self._is_timed:
            return at
        return round((at - self._origin) * self._tick_s * self._video.facts.fps)

    @property
    def _is_done(self) -> bool:
        return self._next >= len(self._plan.targets)

    @property
    def _target(self) -> SampleTarget:
        return self._plan.targets[self._next]

    def _start_of_next(self) -> int:
        return 0 if self._is_done else self._plan.resume_at(self._target)


class _Pace:
    """Measures whether a step has lasted long enough."""

    def __init__(self) -> None:
        self._until_s = time.monotonic() + _STEP_S

    def restart(self) -> None:
        self._until_s = time.monotonic() + _STEP_S

    def is_over(self) -> bool:
        return time.monotonic() >= self._until_s


def video_stream(container: Any, limits: MediaLimits) -> VideoStream:
    """Returns the first real video stream, with its decoder configured but not open.

    Raises MediaRefused: no_video, unsupported_media or too_large.
    """
    streams = [stream for stream in container.streams.video if not _is_cover(stream)]
    if not streams:
        raise MediaRefused("no_video", "the file holds no video")
    stream = streams[0]
    context = stream.codec_context
    codec = context.codec.canonical_name if context is not None else "unknown"
    if codec not in CODECS:
        raise MediaRefused("unsupported_media", f"video codec {codec} is not supported", 415)
    limits.check_video(context.width, context.height)
    context.thread_count = 1
    context.options = {"max_pixels": str(limits.video_pixels)}
    return stream


def _is_cover(stream: VideoStream) -> bool:
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _entry(packet: Any) -> PacketEntry:
    end = (packet.pts or 0) + (packet.duration or 0)
    return PacketEntry(packet.pts, end, bool(packet.is_keyframe), not packet.is_discard)
