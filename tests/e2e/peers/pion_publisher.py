"""Pion, a WebRTC stack in Go, as a publisher: builds it once per checkout and writes recordings for it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.e2e.whip_support import transcode

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = ROOT / "build" / "peers" / "pion"


def build() -> None:
    """Builds the publisher if its sources are newer."""
    subprocess.run(["make", "-s", str(PROGRAM.relative_to(ROOT))], cwd=ROOT, check=True, timeout=600)


def recordings(folder: Path, seconds: float) -> dict[str, Path]:
    """Returns the first seconds of the sample call by codec; H.264 has one slice per picture."""
    h264 = {"preset": "ultrafast", "x264-params": "slices=1:sliced-threads=0:bframes=0:repeat-headers=1"}
    return {
        "h264": transcode(folder / "call.h264", "libx264", seconds, **h264),
        "vp8": transcode(folder / "call.ivf", "libvpx", seconds, deadline="realtime", **{"cpu-used": "8"}),
    }


def command(url: str, key: str, video: Path, *options: str) -> list[str]:
    return [str(PROGRAM), "-url", url, "-key", key, "-video", str(video), *options]
