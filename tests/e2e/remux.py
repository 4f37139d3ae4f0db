"""A file's video into one of FFmpeg's muxers, not coded anew, as fast as it was taken."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import av

if TYPE_CHECKING:
    from av.container import OutputContainer


def remux_in_real_time(source: str, out: OutputContainer, seconds: float = math.inf) -> int:
    """The packets sent, until the file is over or so much of it was sent."""
    sent = 0
    with av.open(source) as clip:
        video = clip.streams.video[0]
        stream: Any = out.add_stream_from_template(video)
        start_s = time.monotonic()
        for packet in clip.demux(video):
            if packet.pts is None or packet.time_base is None:
                continue
            media_s = float(packet.pts * packet.time_base)
            if media_s > seconds:
                break
            time.sleep(max(0.0, start_s + media_s - time.monotonic()))
            packet.stream = stream
            out.mux(packet)
            sent += 1
    return sent
