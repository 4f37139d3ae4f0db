"""Clips for the publishers: the sample call in a codec and size, encoded before the measurement."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import av

from api.bench.options import FRAME_RATE_HZ, BenchCodec, BenchSize

if TYPE_CHECKING:
    from collections.abc import Callable

SOURCE = Path(__file__).resolve().parent.parent / "demo_media" / "sample_call.mp4"
FRAMES = 15 * FRAME_RATE_HZ
GROUP_FRAMES = 3 * FRAME_RATE_HZ

_VERSION = 1        # of the encoding parameters; part of the file name
_RECIPES: dict[BenchCodec, tuple[str, str, dict[str, str]]] = {
    BenchCodec.VP8: ("libvpx", "webm", {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}),
    BenchCodec.H264: ("libx264", "mp4", {"preset": "veryfast", "tune": "zerolatency", "threads": "1"}),
}


class _Picture(NamedTuple):
    width_px: int
    height_px: int
    bit_rate: int


_PICTURES = {
    BenchSize.P360: _Picture(640, 360, 500_000),
    BenchSize.P720: _Picture(1280, 720, 1_500_000),
}


def clip_path(folder: Path, codec: BenchCodec, size: BenchSize) -> Path:
    return folder / f"{codec.value}-{size.value}{FRAME_RATE_HZ}-v{_VERSION}.{_RECIPES[codec][1]}"


def ensure_clip(folder: Path, codec: BenchCodec, size: BenchSize, report: Callable[[int, int], None]) -> Path:
    """Returns the clip (the first 15 s of the sample call); encodes it if the folder lacks it.

    `report(done, total)` reports encoded frames.
    """
    path = clip_path(folder, codec, size)
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_stem(f"{path.stem}-unfinished")
        _encode(unfinished, codec, _PICTURES[size], report)
        unfinished.rename(path)
    return path


def _encode(target: Path, codec: BenchCodec, picture: _Picture, report: Callable[[int, int], None]) -> None:
    encoder, _, options = _RECIPES[codec]
    with av.open(str(SOURCE)) as source, av.open(str(target), "w") as out:
        stream: Any = out.add_stream(encoder, rate=FRAME_RATE_HZ, options=options)
        stream.width, stream.height, stream.pix_fmt = picture.width_px, picture.height_px, "yuv420p"
        stream.bit_rate, stream.gop_size = picture.bit_rate, GROUP_FRAMES
        for number, frame in enumerate(source.decode(video=0)):
            if number >= FRAMES:
                break
            sized = frame.reformat(width=picture.width_px, height=picture.height_px, format="yuv420p")
            sized.pts, sized.time_base = number, Fraction(1, FRAME_RATE_HZ)
            sized.pict_type = av.video.frame.PictureType.NONE
            out.mux(stream.encode(sized))
            report(number + 1, FRAMES)
        out.mux(stream.encode(None))
