"""FFmpeg's RTP muxer as an SFU that forwards: a packetizer that shares no code with us, in its own process.

    python -m tests.e2e.rtp_forwarder PORT FILE SECONDS        says how many packets of the file it sent
"""

from __future__ import annotations

import sys
import time
from typing import Any

import av


def forward(port: int, source: str, seconds: float) -> int:
    """Remuxes in real time. H.264 has to have its parameter sets in band, as in MPEG-TS."""
    sent = 0
    target = f"rtp://127.0.0.1:{port}?rtcpport={port}&pkt_size=1200"
    with av.open(source) as clip, av.open(target, "w", format="rtp") as out:
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


if __name__ == "__main__":
    sys.stdout.write(f"{forward(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]))}\n")
