"""Corruptions of evaluation pictures and clips, the same for real and fake.

These are the seven corruptions of DeeperForensics-1.0 (Jiang et al. 2020, arXiv 2001.03024) at levels 1 to 5, low
light, beauty smoothing, and video codecs at the bitrates of calls.

Pictures are uint8 (h, w, 3) RGB and keep their size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

import av
import cv2
import numpy as np
from av.video.codeccontext import VideoCodecContext

from detector.training.data.datasets import PICTURE_SUFFIXES, of_one_size, read_rgb
from detector.training.data.degradations import Coding, codec_pass, smoothed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from detector.training.data.datasets import Clip

    Picture = NDArray[np.uint8]

LEVELS = (1, 2, 3, 4, 5)
BITRATES_KBPS = (50, 150, 400)
_CALL_PIXELS = 640 * 480
_PICTURE_FRAMES = 25
CODECS = {"h264": "libx264", "vp8": "libvpx"}
_SPEED = {
    "libx264": {"preset": "veryfast", "tune": "zerolatency"},
    "libvpx": {"deadline": "realtime", "cpu-used": "-8", "lag-in-frames": "0"},
}


@dataclass(frozen=True, slots=True)
class Corruption:
    """One corruption at one level; `name` is empty for none."""

    name: str = ""
    level: int = 0

    def __str__(self) -> str:
        return f"{self.name} {self.level}" if self.name else "as it came"

    def apply(self, rgb: Picture) -> Picture:
        """Returns the corrupted picture. Raises KeyError for an unknown name."""
        return _KINDS[self.name](rgb, self.level) if self.name else rgb


def all_corruptions(levels: tuple[int, ...] = LEVELS) -> tuple[Corruption, ...]:
    """Returns every corruption at every given level."""
    return tuple(Corruption(name, level) for name in _KINDS for level in levels)


class Transcoding(NamedTuple):
    """A video codec of calls and its bitrate in kb/s."""

    codec: str
    kbps: int

    def __str__(self) -> str:
        return f"{self.codec} {self.kbps} kb/s"


def all_codings(levels: tuple[int, ...]) -> tuple[Transcoding, ...]:
    """Returns every codec at every bitrate; none if `levels` is empty."""
    return tuple(Transcoding(codec, kbps) for codec in (CODECS if levels else ()) for kbps in BITRATES_KBPS)


def _mixed(rgb: Picture, other: NDArray[np.float32], share: float) -> Picture:
    return np.rint(share * rgb + (1 - share) * other).clip(0, 255).astype(np.uint8)


def _saturation(rgb: Picture, level: int) -> Picture:
    grey = rgb.astype(np.float32).mean(axis=2, keepdims=True)
    return _mixed(rgb, grey, (0.4, 0.3, 0.2, 0.1, 0.0)[level - 1])


def _contrast(rgb: Picture, level: int) -> Picture:
    middle = np.full((1, 1, 3), rgb.mean(), np.float32)
    return _mixed(rgb, middle, (0.85, 0.725, 0.6, 0.475, 0.35)[level - 1])


def _blocks(rgb: Picture, level: int) -> Picture:
    """Returns the picture with grey squares of 8 px at positions that depend on level and size alone."""
    height, width = rgb.shape[:2]
    rng, found = np.random.default_rng(level), rgb.copy()
    for _ in range((16, 32, 48, 64, 80)[level - 1] * max(1, min(height, width) // 256)):
        top, left = int(rng.integers(0, max(1, height - 8))), int(rng.integers(0, max(1, width - 8)))
        found[top : top + 8, left : left + 8] = 127
    return found


def _noise(rgb: Picture, level: int) -> Picture:
    sd = 255 * (0.001, 0.002, 0.005, 0.01, 0.05)[level - 1] ** 0.5
    noise = np.random.default_rng(level).standard_normal(rgb.shape, dtype=np.float32)
    return np.rint(rgb + np.float32(sd) * noise).clip(0, 255).astype(np.uint8)


def _blur(rgb: Picture, level: int) -> Picture:
    side = (7, 9, 13, 17, 21)[level - 1]
    return np.asarray(cv2.GaussianBlur(rgb, (side, side), side / 6), np.uint8)


def _rescale(rgb: Picture, level: int) -> Picture:
    height, width = rgb.shape[:2]
    factor = (2, 3, 4, 5, 6)[level - 1]
    small = cv2.resize(rgb, (max(1, width // factor), max(1, height // factor)), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def _compression(rgb: Picture, level: int) -> Picture:
    return codec_pass(rgb, Coding("libx264", (30, 32, 35, 38, 40)[level - 1], 0.1))


def _low_light(rgb: Picture, level: int) -> Picture:
    """Returns the picture darkened, with noise, and denoised as by a camera."""
    dark = rgb.astype(np.float32) * (0.6, 0.5, 0.4, 0.3, 0.2)[level - 1]
    noise = np.random.default_rng(level).standard_normal(rgb.shape, dtype=np.float32)
    noisy = np.rint(dark + np.float32(2 * level) * noise).clip(0, 255).astype(np.uint8)
    return smoothed(noisy, 10.0 + 6 * level)


def _beauty(rgb: Picture, level: int) -> Picture:
    return smoothed(rgb, 10.0 + 12 * level)


_KINDS: dict[str, Callable[[Picture, int], Picture]] = {
    "saturation": _saturation, "contrast": _contrast, "blocks": _blocks, "noise": _noise, "blur": _blur,
    "rescale": _rescale, "compression": _compression, "low light": _low_light, "beauty": _beauty,
}  # fmt: skip


def recode_clip(clip: Clip, coding: Transcoding, folder: Path) -> Clip:
    """Returns the clip after a codec at a bitrate, with the same frames; transcoded files are cached in `folder`.

    A file that holds both halves of a pair gets twice the bitrate. A picture becomes the last frame of one coded
    second. Two pictures of different sizes are scaled to one size first, so that both get the same rate per pixel.
    """
    codec, kbps = coding
    if clip.path.suffix.lower() in PICTURE_SUFFIXES:
        return _recoded_pictures(clip, coding, folder)
    shared = clip.paired and clip.swap is None
    path, *swap = (
        _recoded_file(path, folder, codec, (2 if shared else 1) * kbps) for path in (clip.path, clip.swap) if path
    )
    return replace(clip, path=path, swap=swap[0] if swap else None)


def _recoded_pictures(clip: Clip, coding: Transcoding, folder: Path) -> Clip:
    codec, kbps = coding
    sources = [path for path in (clip.path, clip.swap) if path is not None]
    # Both names contain that of the swap, because one real picture may be scaled to the sizes of several swaps.
    targets = [folder / f"{path.stem}-{sources[-1].stem}-{codec}-{kbps}.png" for path in sources]
    if not all(target.is_file() for target in targets):
        folder.mkdir(parents=True, exist_ok=True)
        for rgb, target in zip(of_one_size([read_rgb(path) for path in sources]), targets, strict=True):
            bgr = recode_picture(rgb, coding)[:, :, ::-1]
            draft = target.with_suffix(".draft.png")
            cv2.imwrite(str(draft), bgr)
            draft.replace(target)
    return replace(clip, path=targets[0], swap=targets[1] if clip.swap is not None else None)


def recode_picture(rgb: Picture, coding: Transcoding) -> Picture:
    """Returns the last of 25 coded frames that show the picture, shifted by one pixel in every second frame.

    The stream has the bits per pixel of a call of 640 x 480 px at the bitrate. Codecs need even sides: an odd side
    loses a pixel, and the edge is repeated afterwards.
    """
    codec, kbps = coding
    height, width = rgb.shape[0] // 2 * 2, rgb.shape[1] // 2 * 2
    encoder = av.CodecContext.create(CODECS[codec], "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base, encoder.framerate, encoder.thread_count = Fraction(1, 25), Fraction(25), 1
    encoder.bit_rate = round(1000 * kbps * width * height / _CALL_PIXELS)
    encoder.options = _SPEED[CODECS[codec]]
    decoder = av.CodecContext.create(codec, "r")
    assert isinstance(decoder, VideoCodecContext)
    decoder.thread_count = 1
    last = None
    for step in range(_PICTURE_FRAMES):
        # No shift in the last frame, so that faces keep their positions.
        moved = np.roll(rgb[:height, :width], (_PICTURE_FRAMES - 1 - step) % 2, axis=1)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(moved), format="rgb24")
        frame.pts = step
        for packet in encoder.encode(frame):
            for shown in decoder.decode(packet):
                last = shown
    for rest in (*encoder.encode(None), None):
        for shown in decoder.decode(rest):
            last = shown
    assert last is not None
    coded = np.asarray(last.to_ndarray(format="rgb24"), np.uint8)
    return np.pad(coded, ((0, rgb.shape[0] - height), (0, rgb.shape[1] - width), (0, 0)), mode="edge")


def _recoded_file(path: Path, folder: Path, codec: str, kbps: int) -> Path:
    target = folder / f"{path.stem}-{codec}-{kbps}.mkv"
    if not target.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        draft = target.with_suffix(".draft")
        recode_file(path, draft, codec, kbps)
        draft.replace(target)
    return target


def recode_file(path: Path, target: Path, codec: str, kbps: int) -> None:
    """Transcodes a file frame by frame, with the encoder settings of a call. Blocks for seconds."""
    with av.open(str(path)) as source, av.open(str(target), "w", format="matroska") as sink:
        stream = source.streams.video[0]
        out = sink.add_stream(CODECS[codec], rate=stream.average_rate or 25, options=_SPEED[CODECS[codec]])
        assert isinstance(out, av.VideoStream)
        out.width, out.height = stream.width // 2 * 2, stream.height // 2 * 2
        out.pix_fmt, out.bit_rate = "yuv420p", 1000 * kbps
        out.codec_context.thread_count = 1
        for number, frame in enumerate(source.decode(stream)):
            plain = frame.reformat(out.width, out.height, "yuv420p")
            plain.pts, plain.time_base = number, 1 / out.codec_context.framerate
            sink.mux(out.encode(plain))
        sink.mux(out.encode(None))
