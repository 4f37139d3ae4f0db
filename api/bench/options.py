"""Options and limits of `deepguard bench live`. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

FRAME_RATE_HZ = 30
RATE_HZ = 2.0
AGE_BAR_MS = 500.0
SAMPLING_BAR = 0.95


class BenchCodec(StrEnum):
    """Codec of the published calls."""

    VP8 = "vp8"
    H264 = "h264"


class BenchSize(StrEnum):
    """Picture size of every call, at 30 frames/s."""

    P360 = "360p"
    P720 = "720p"


@dataclass(frozen=True, slots=True)
class LiveBenchOptions:
    """Options.

    With `find`, `calls` is the start of the search. Each trial is measured for `seconds`, after its ramp.
    """

    calls: int = 20
    codec: BenchCodec = BenchCodec.VP8
    size: BenchSize = BenchSize.P360
    seconds: float = 30.0
    find: bool = False
    naive: bool = True
