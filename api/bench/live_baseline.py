"""The plain design, for comparison: one process decodes every call with PyAV and runs the `mtcnn` package and Keras
`predict` on each sampled frame, one after the other. Needs the extra `train`.

    python -m api.bench.naive CLIP SECONDS      (JSON on standard output)

Frames come from the file: the plain design is not charged for the network. First the costs are measured, then calls are
played in real time, one more each time, for as long as the process keeps up. It is held to the same bars as ours; what
it keeps up with when the age of its samples does not matter is told beside that.
"""

from __future__ import annotations

import argparse
import heapq
import sys
import time
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import av
import msgspec
import numpy as np

from api.bench.options import AGE_BAR_MS, FRAME_RATE_HZ, RATE_HZ, SAMPLING_BAR
from api.bench.run_statistics import percentile
from detector.benchmark import build_naive
from detector.config import DetectorConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    Score = Callable[[NDArray[np.uint8]], float]

_EVERY = round(FRAME_RATE_HZ / RATE_HZ)
_WARM_UP, _COST_SAMPLES = 2, 8
_MOST_CALLS = 64


class BaselineTrial(msgspec.Struct, frozen=True, kw_only=True):
    """Calls played in real time: the share of the wanted samples that was done in time, and their ages when done."""

    calls: int
    sampling: float
    p95_age_ms: float

    @property
    def keeps_up(self) -> bool:
        return self.sampling >= SAMPLING_BAR

    @property
    def holds(self) -> bool:
        """Whether the bars hold that ours is held to."""
        return self.keeps_up and self.p95_age_ms <= AGE_BAR_MS


class BaselineResult(msgspec.Struct, frozen=True, kw_only=True):
    """`by_cost`: calls that the costs leave time for, if work never had to wait for other work."""

    sample_ms: float
    decode_ms: float
    by_cost: float
    observed: tuple[BaselineTrial, ...]

    @property
    def calls(self) -> int:
        """The most for which the bars were seen to hold."""
        return max((o.calls for o in self.observed if o.holds), default=0)

    @property
    def kept_up(self) -> int:
        """The most that were seen to be kept up with, whatever the age of their samples."""
        return max((o.calls for o in self.observed if o.keeps_up), default=0)


def measure_baseline(clip: Path, seconds: float, score: Score) -> BaselineResult:
    sample_ms, decode_ms = _costs(clip, score)
    by_cost = 1000 / (RATE_HZ * sample_ms + FRAME_RATE_HZ * decode_ms)
    observed: list[BaselineTrial] = []
    for calls in range(1, _MOST_CALLS):
        observed.append(_play(clip, calls, seconds, score))
        if not observed[-1].keeps_up:
            break
    return BaselineResult(sample_ms=sample_ms, decode_ms=decode_ms, by_cost=by_cost, observed=tuple(observed))


def _costs(clip: Path, score: Score) -> tuple[float, float]:
    """Median ms of one sample, and ms of one frame's decoding."""
    decode_s, frames = 0.0, 0
    samples_ms: list[float] = []
    source = _frames(clip)
    while len(samples_ms) < _WARM_UP + _COST_SAMPLES:
        began_s = time.perf_counter()
        frame = next(source)
        decode_s += time.perf_counter() - began_s
        frames += 1
        if frames % _EVERY == 0:
            began_s = time.perf_counter()
            score(_rgb(frame))
            samples_ms.append((time.perf_counter() - began_s) * 1000)
    return median(samples_ms[_WARM_UP:]), decode_s / frames * 1000


def _play(clip: Path, calls: int, seconds: float, score: Score) -> BaselineTrial:
    """Frames in the order in which they are due, never ahead of time; the calls are spread evenly over a frame."""
    sources = [_frames(clip) for _ in range(calls)]
    began_s = time.monotonic()
    due = [(began_s + call / calls / FRAME_RATE_HZ, call, 0) for call in range(calls)]
    ages_ms = []
    while (now_s := time.monotonic()) < began_s + seconds:
        due_s, call, number = heapq.heappop(due)
        if due_s > now_s:
            time.sleep(due_s - now_s)
        frame = next(sources[call])
        # Each call has its samples at another time.
        if (number + call * _EVERY // calls) % _EVERY == 0:
            score(_rgb(frame))
            ages_ms.append((time.monotonic() - due_s) * 1000)
        heapq.heappush(due, (due_s + 1 / FRAME_RATE_HZ, call, number + 1))
    share = len(ages_ms) / (calls * seconds * RATE_HZ)
    return BaselineTrial(calls=calls, sampling=min(1.0, share), p95_age_ms=percentile(ages_ms, 0.95))


def _frames(clip: Path) -> Iterator[av.VideoFrame]:
    """The clip, over and over."""
    for path in cycle((clip,)):
        with av.open(str(path)) as container:
            yield from container.decode(video=0)


def _rgb(frame: av.VideoFrame) -> NDArray[np.uint8]:
    return np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description="how many calls the plain design keeps up with")
    parser.add_argument("clip", type=Path)
    parser.add_argument("seconds", type=float)
    args = parser.parse_args()
    result: Any = measure_baseline(args.clip, args.seconds, build_naive(DetectorConfig()))
    sys.stdout.buffer.write(msgspec.json.encode(result))


if __name__ == "__main__":
    main()
