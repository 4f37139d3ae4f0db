"""FFmpeg publishing to an RTMP server in real time.

    python -m tests.e2e.rtmp_publisher URL FILE
"""

from __future__ import annotations

import sys

import av

from tests.e2e.remux import remux_in_real_time


def publish(url: str, source: str) -> None:
    """Until the file is over."""
    with av.open(url, "w", format="flv") as out:
        remux_in_real_time(source, out)


if __name__ == "__main__":
    publish(sys.argv[1], sys.argv[2])
