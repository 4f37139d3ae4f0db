"""FFmpeg's RTP muxer as an SFU that forwards: a packetizer that shares no code with us, in its own process.

    python -m tests.e2e.rtp_forwarder PORT FILE SECONDS        says how many packets of the file it sent
"""

from __future__ import annotations

import sys

import av

from tests.e2e.remux import remux_in_real_time


def forward(port: int, source: str, seconds: float) -> int:
    """Remuxes in real time. H.264 has to have its parameter sets in band, as in MPEG-TS."""
    target = f"rtp://127.0.0.1:{port}?rtcpport={port}&pkt_size=1200"
    with av.open(target, "w", format="rtp") as out:
        return remux_in_real_time(source, out, seconds)


if __name__ == "__main__":
    sys.stdout.write(f"{forward(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]))}\n")
