"""Watching a published call through the service's REST face, and clips to publish."""

from __future__ import annotations

import time
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

SAMPLE = Path("api/demo_media/sample_call.mp4")


def wait_for(client: httpx.Client, stream: str, condition: Callable[[dict[str, Any]], bool], timeout_s: float = 60.0
             ) -> dict[str, Any]:
    """The stream as soon as it is as wanted; fails if it never is. A stream that is not there yet is {}."""
    end_s = time.monotonic() + timeout_s
    info: dict[str, Any] = {}
    while time.monotonic() < end_s:
        answer = client.get(f"/v1/streams/{stream}")
        info = answer.json() if answer.status_code == 200 else {}
        if info and condition(info):
            return info
        time.sleep(0.05)
    raise AssertionError(f"stream {stream} never got there: {info}")


def transcode(target: Path, codec: str, seconds: float, **options: str) -> Path:
    """The first seconds of the sample call in another codec, without B-frames."""
    with av.open(str(SAMPLE)) as source, av.open(str(target), "w") as out:
        stream: Any = out.add_stream(codec, rate=30, options=options)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 640, 360, "yuv420p", 800_000
        stream.gop_size = 60
        for number, frame in enumerate(source.decode(video=0)):
            if number >= seconds * 30:
                break
            frame.pts, frame.time_base = number, Fraction(1, 30)
            frame.pict_type = av.video.frame.PictureType.NONE
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return target
