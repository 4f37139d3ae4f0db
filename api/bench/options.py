"""What `deepguard bench live` is asked to do. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

FRAME_RATE_HZ = 30
RATE_HZ = 2.0
AGE_BAR_MS = 500.0
SAMPLING_BAR = 0.95


class BenchCodec(StrEnum):
    """What the publishers send."""

    VP8 = "vp8"
    H264 = "h264"


class BenchSize(StrEnum):
    """Picture size of every call, at 30 frames/s."""

    P360 = "360p"
    P720 = "720p"


@dataclass(frozen=True, slots=True)
class LiveBenchOptions:
    """`calls` is where a search starts if `find` is set. `seconds` are measured, per count of calls; getting there
    comes on top."""

    calls: int = 20
    codec: BenchCodec = BenchCodec.VP8
    size: BenchSize = BenchSize.P360
    seconds: float = 30.0
    find: bool = False
    naive: bool = True
