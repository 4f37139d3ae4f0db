"""Baseline for live calls: one process decodes every call with PyAV and runs `mtcnn` and Keras `predict` in sequence.

Needs the extra `train`.

    python -m api.bench.live_baseline CLIP SECONDS      (JSON on standard output)

Frames come from the file, so that the baseline has no network cost. It measures the cost of a sample first, then plays
calls in real time, one more per trial, until the process falls behind. It has the same limits as DeepGuard; the number
of calls it sustains without a limit on age is reported too.
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
_MAX_CALLS = 64


class BaselineTrial(msgspec.Struct, frozen=True, kw_only=True):
    """One trial in real time: the share of the expected samples that was scored, and their 95th-percentile age."""

    calls: int
    sampling: float
    p95_age_ms: float

    @property
    def keeps_up(self) -> bool:
        return self.sampling >= SAMPLING_BAR

    @property
    def holds(self) -> bool:
        """Whether the trial meets the limits of DeepGuard's benchmark."""
        return self.keeps_up and self.p95_age_ms <= AGE_BAR_MS


class BaselineResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result. `by_cost`: calls that the measured costs allow if samples never wait for each other."""

    sample_ms: float
    decode_ms: float
    by_cost: float
    observed: tuple[BaselineTrial, ...]

    @property
    def calls(self) -> int:
        """The largest number of calls that met all limits."""
        return max((o.calls for o in self.observed if o.holds), default=0)

    @property
    def kept_up(self) -> int:
        """The largest number of calls sustained without a limit on age."""
        return max((o.calls for o in self.observed if o.keeps_up), default=0)


def measure_baseline(clip: Path, seconds: float, score: Score) -> BaselineResult:
    sample_ms, decode_ms = _costs(clip, score)
    by_cost = 1000 / (RATE_HZ * sample_ms + FRAME_RATE_HZ * decode_ms)
    observed: list[BaselineTrial] = []
    for calls in range(1, _MAX_CALLS):
        observed.append(_play(clip, calls, seconds, score))
        if not observed[-1].keeps_up:
            break
    return BaselineResult(sample_ms=sample_ms, decode_ms=decode_ms, by_cost=by_cost, observed=tuple(observed))


def _costs(clip: Path, score: Score) -> tuple[float, float]:
    """Returns the median ms to score a sample, and the mean ms to decode a frame."""
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
    """Plays calls in real time, frames in order of due time, with call starts spread over one frame interval."""
    sources = [_frames(clip) for _ in range(calls)]
    began_s = time.monotonic()
    due = [(began_s + call / calls / FRAME_RATE_HZ, call, 0) for call in range(calls)]
    ages_ms = []
    while (now_s := time.monotonic()) < began_s + seconds:
        due_s, call, number = heapq.heappop(due)
        if due_s > now_s:
            time.sleep(due_s - now_s)
        frame = next(sources[call])
        # Sampling times are spread over the calls.
        if (number + call * _EVERY // calls) % _EVERY == 0:
            score(_rgb(frame))
            ages_ms.append((time.monotonic() - due_s) * 1000)
        heapq.heappush(due, (due_s + 1 / FRAME_RATE_HZ, call, number + 1))
    share = len(ages_ms) / (calls * seconds * RATE_HZ)
    return BaselineTrial(calls=calls, sampling=min(1.0, share), p95_age_ms=percentile(ages_ms, 0.95))


def _frames(clip: Path) -> Iterator[av.VideoFrame]:
    """Decodes the clip in a loop."""
    for path in cycle((clip,)):
        with av.open(str(path)) as container:
            yield from container.decode(video=0)


def _rgb(frame: av.VideoFrame) -> NDArray[np.uint8]:
    return np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how many live calls the baseline sustains.")
    parser.add_argument("clip", type=Path)
    parser.add_argument("seconds", type=float)
    args = parser.parse_args()
    result: Any = measure_baseline(args.clip, args.seconds, build_naive(DetectorConfig()))
    sys.stdout.buffer.write(msgspec.json.encode(result))


if __name__ == "__main__":
    main()
