"""One benchmark run: publishes calls, records their verdicts and the CPU use for a fixed time after a ramp."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from api.bench.cpu_usage import BenchProcesses, CpuUsage, MemoryUsage
from api.bench.processes import Publishers, Service
from api.bench.run_statistics import Interval, RunStatistics, run_statistics
from api.bench.verdict_recorder import VerdictRecorder, watching
from api.errors import BenchFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

CALLS_PER_PROCESS = 40
SETTLE_S = 3.0
_RAMP_S = 20.0          # and half a second per call
_STEP_S = 0.5


class ProgressReporter(Protocol):
    """Receives the progress of a run."""

    def step(self, what: str, done: float, total: float) -> None: ...


@dataclass(frozen=True, slots=True)
class BenchLoad:
    """The load of one run. `prefix` distinguishes its streams from those of earlier runs."""

    clip: Path
    calls: int
    seconds: float
    prefix: str

    @property
    def streams(self) -> tuple[str, ...]:
        """Stream names, spread evenly over as few publisher processes as possible."""
        return tuple(f"{prefix}{n}" for prefix, count in self.shares for n in range(count))

    @property
    def shares(self) -> tuple[tuple[str, int], ...]:
        """(prefix, number of calls) of each publisher process."""
        processes = math.ceil(self.calls / CALLS_PER_PROCESS)
        least, more = divmod(self.calls, processes)
        return tuple((f"{self.prefix}-{p}-", least + (p < more)) for p in range(processes))


@dataclass(frozen=True, slots=True)
class LiveRun:
    """The result of one run. `figures` covers the admitted calls.

    `cut_off`: errors of calls that failed or ended early. `refusals_ms`: response times of 503 refusals.
    """

    calls: int
    figures: RunStatistics
    usage: CpuUsage
    rss: MemoryUsage
    publishers_late_ms: float
    payload_bytes_per_s: float
    refusals_ms: tuple[float, ...]
    cut_off: tuple[str, ...]

    @property
    def let_in(self) -> int:
        return len(self.figures.calls)

    @property
    def sustained(self) -> bool:
        """Whether all calls were admitted, ran to the end, and met the limits."""
        return self.let_in == self.calls and not self.cut_off and self.figures.sustained


async def run_calls(service: Service, load: BenchLoad, progress: ProgressReporter) -> LiveRun:
    """Runs the load. Raises BenchFailed if a process fails; refused calls are part of the result."""
    publishers = Publishers()
    async with watching(service.websocket_url) as watch:
        try:
            for prefix, calls in load.shares:
                await publishers.start(f"{service.url}/whip", load.clip, prefix, calls)
            await _ramp(watch, publishers, load.streams, progress)
            streams = tuple(s for s in load.streams if s in watch.streams)
            parts = BenchProcesses(service.pid, publishers.pids)
            began_s, before = time.monotonic(), parts.cpu()
            await _measure(parts, load.seconds, progress)
            usage = before.until(parts.cpu())
            interval = Interval(began_s, time.monotonic())
        finally:
            await publishers.stop()
    sent = publishers.sent
    return LiveRun(
        calls=load.calls,
        figures=run_statistics(streams, watch.streams, sent, interval),
        usage=usage,
        rss=parts.memory,
        publishers_late_ms=max((s.late_ms for s in sent.values()), default=math.nan),
        payload_bytes_per_s=sum(s.payload_bytes / (s.sent_s[-1] - s.sent_s[0]) for s in sent.values() if s.sent_s[1:]),
        refusals_ms=tuple(refused.answered_ms for refused in publishers.refused),
        cut_off=tuple(f"{lost.stream}: {lost.message}" for lost in publishers.lost.values()),
    )


async def _ramp(
    watch: VerdictRecorder, publishers: Publishers, streams: Sequence[str], progress: ProgressReporter
) -> None:
    """Waits until every call has a verdict or the time limit passes, then 3 s more.

    Raises BenchFailed if none has one.
    """
    end_s = time.monotonic() + _RAMP_S + len(streams) / 2
    while True:
        here = [s for s in streams if s in watch.streams]
        progress.step(f"connecting {len(streams)} calls", len(here), len(streams))
        if all(s in watch.streams or s in publishers.lost for s in streams) or time.monotonic() > end_s:
            break
        await asyncio.sleep(0.1)
    if not here:
        first = next(iter(publishers.lost.values()), None)
        raise BenchFailed(f"no call received a verdict{f': {first.message}' if first else ''}")
    await asyncio.sleep(SETTLE_S)


async def _measure(parts: BenchProcesses, seconds: float, progress: ProgressReporter) -> None:
    began_s = time.monotonic()
    while (passed_s := time.monotonic() - began_s) < seconds:
        parts.sample_memory()
        progress.step("measuring", passed_s, seconds)
        await asyncio.sleep(min(_STEP_S, seconds - passed_s))
    progress.step("measuring", seconds, seconds)
