"""FFmpeg publishing to an RTMP server in real time.

    python -m tests.e2e.rtmp_publisher URL FILE
"""

from __future__ import annotations

import sys
import time
from typing import Any

import av


def publish(url: str, source: str) -> None:
    """Until the file is over."""
    with av.open(source) as clip, av.open(url, "w", format="flv") as out:
        stream: Any = out.add_stream_from_template(clip.streams.video[0])
        start_s = time.monotonic()
        for packet in clip.demux(video=0):
            if packet.pts is None or packet.time_base is None:
                continue
            time.sleep(max(0.0, start_s + float(packet.pts * packet.time_base) - time.monotonic()))
            packet.stream = stream
            out.mux(packet)


if __name__ == "__main__":
    publish(sys.argv[1], sys.argv[2])
