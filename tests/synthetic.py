"""Small videos and pictures, made on the spot: a moving test pattern in any codec, size, rate and container."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from typing import TYPE_CHECKING, Any

import av
import cv2
import numpy as np

from stream.types import Codec, MediaUnit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

ENCODERS = {Codec.H264: "libx264", Codec.VP8: "libvpx"}
QUICK = {
    "libx264": {"preset": "ultrafast", "tune": "zerolatency"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none"},
    "libvpx": {"deadline": "realtime", "cpu-used": "8"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"},
    "libsvtav1": {"preset": "12"},
}


@dataclass(frozen=True)
class Clip:
    """What to make: `gop` frames from key frame to key frame."""

    width: int = 320
    height: int = 240
    frames: int = 30
    fps: int = 30
    encoder: str = "libx264"
    pixels: str = "yuv420p"
    gop: int = 15
    options: dict[str, str] = field(default_factory=dict)

    @property
    def all_options(self) -> dict[str, str]:
        return {**QUICK.get(self.encoder, {}), **self.options}


@cache
def _gradients(width: int, height: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    columns = (np.arange(width) * 255 // max(width, 1)).astype(np.uint8)
    rows = (np.arange(height) * 255 // max(height, 1)).astype(np.uint8)
    base = np.empty((height, width, 3), np.uint8)
    base[:, :, 0], base[:, :, 1] = columns[None, :], rows[:, None]
    base[:, :, 2] = (np.arange(width)[None, :] + np.arange(height)[:, None]) % 256
    return base, np.full((height, width), 4, np.uint8)


def pattern(number: int, width: int, height: int) -> NDArray[np.uint8]:
    """RGB uint8 (height, width, 3): a moving gradient and bar, and the number as a row of light and dark squares."""
    base, step = _gradients(width, height)
    rgb = base.copy()
    rgb[:, :, 2] += step * np.uint8(number % 64)
    bar = (number * 7) % max(width, 1)
    rgb[:, bar : bar + max(2, width // 40)] = 255
    cell = min(width, height) // 12
    for bit in range(12):
        rgb[: 2 * cell, bit * cell : (bit + 1) * cell] = 255 * (number >> bit & 1)
    return rgb


def number_on(rgb: NDArray[np.uint8]) -> int:
    """The frame number that `pattern` drew."""
    cell = min(rgb.shape[:2]) // 12
    inner = cell // 4
    squares = [rgb[2 * inner : 6 * inner, bit * cell + inner : (bit + 1) * cell - inner] for bit in range(12)]
    return sum((square.mean() > 127) << bit for bit, square in enumerate(squares))


def pictures(clip: Clip) -> Iterator[NDArray[np.uint8]]:
    return (pattern(number, clip.width, clip.height) for number in range(clip.frames))


def encode(clip: Clip, frames: Iterable[NDArray[np.uint8]] | None = None) -> list[tuple[bytes, bool]]:
    """(payload, is key frame) of each access unit, without a container."""
    context: Any = av.CodecContext.create(clip.encoder, "w")
    _set_up(context, clip)
    packets = []
    for number, rgb in enumerate(frames if frames is not None else pictures(clip)):
        frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
        frame.pts, frame.time_base = number, context.time_base
        packets += context.encode(frame)
    packets += context.encode(None)
    return [(bytes(packet), bool(packet.is_keyframe)) for packet in packets]


def units(stream: str, codec: Codec, clip: Clip | None = None, first: int = 0, epoch: int = 1) -> list[MediaUnit]:
    """Media units of a test clip, numbered from `first`."""
    clip = clip or Clip(encoder=ENCODERS[codec])
    return [
        MediaUnit(
            stream=stream,
            epoch=epoch,
            sequence=first + number,
            codec=codec,
            payload=payload,
            pts_s=(first + number) / clip.fps,
            capture_s=1000.0 + (first + number) / clip.fps,
            keyframe=is_keyframe,
        )
        for number, (payload, is_keyframe) in enumerate(encode(clip))
    ]


@contextmanager
def as_ordinary_process() -> Iterator[None]:
    """Undoes what SVT-AV1 does to a superuser: its thread, and so all processes started from it, become real-time."""
    try:
        yield
    finally:
        if hasattr(os, "sched_setscheduler"):
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def fragmented(path: Path, clip: Clip | None = None) -> Path:
    """Write a test clip as MP4 with a fragment for each group of pictures."""
    flags = "frag_keyframe+empty_moov+default_base_moof"
    return video(path, clip or Clip(frames=60, gop=10), muxer={"movflags": flags})


def video(
    path: Path, clip: Clip | None = None, container: str | None = None, muxer: dict[str, str] | None = None
) -> Path:
    """Write a test clip; the container follows from the name unless it is given."""
    clip = clip or Clip()
    with as_ordinary_process(), av.open(str(path), "w", format=container, options=muxer or {}) as output:
        stream: Any = output.add_stream(clip.encoder, rate=clip.fps)
        _set_up(stream.codec_context, clip)
        for number, rgb in enumerate(pictures(clip)):
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            frame.pts = number
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def audio_only(path: Path, seconds: float = 0.5) -> Path:
    with av.open(str(path), "w") as output:
        stream: Any = output.add_stream("aac", rate=8000)
        for start in range(0, int(8000 * seconds), 1024):
            samples = np.zeros((1, 1024), np.float32)
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 8000, start
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def picture(width: int, height: int, extension: str = ".jpg") -> bytes:
    bgr = np.ascontiguousarray(pattern(5, width, height)[:, :, ::-1])
    return bytes(cv2.imencode(extension, bgr)[1])


def _set_up(context: Any, clip: Clip) -> None:
    context.width, context.height, context.pix_fmt = clip.width, clip.height, clip.pixels
    context.framerate = Fraction(clip.fps)
    context.time_base = Fraction(1, clip.fps)
    context.gop_size = clip.gop
    context.thread_count = 1
    context.options = clip.all_options
