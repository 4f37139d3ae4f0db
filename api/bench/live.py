"""`deepguard bench live`: how many calls this machine sustains, with a real service and real publishers."""

from __future__ import annotations

import asyncio
import importlib.util
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from api.bench.capacity_search import find_largest
from api.bench.cpu_usage import machine_facts
from api.bench.live_baseline import BaselineResult
from api.bench.live_run import BenchLoad, LiveRun, run_calls
from api.bench.processes import run_json, serving
from api.bench.result_table import LiveResult, as_json, as_table
from api.bench.sample_clips import ensure_clip
from api.errors import BenchFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from api.bench.live_run import ProgressReporter
    from api.bench.options import LiveBenchOptions

CACHE = Path("build") / "bench"
_NAIVE_START_S, _NAIVE_PLAYS = 180.0, 16


def bench_live(options: LiveBenchOptions, console: Console) -> dict[str, Any]:
    """Runs the benchmark, prints a table and returns the result as JSON values. Raises BenchFailed."""
    if options.naive and not all(importlib.util.find_spec(name) for name in ("mtcnn", "tensorflow")):
        raise BenchFailed("the baseline needs the extra `train`; install it, or use --no-naive")
    with _progress() as progress:
        outcome = asyncio.run(_bench(options, progress))
    console.print(as_table(outcome))
    return as_json(outcome)


async def _bench(options: LiveBenchOptions, progress: ProgressReporter) -> LiveResult:
    def encoding(done: int, total: int) -> None:
        progress.step("encoding the clip", done, total)

    clip = await asyncio.to_thread(ensure_clip, CACHE, options.codec, options.size, encoding)
    machine = machine_facts()
    trials: list[LiveRun] = []
    async with serving(DEEPGUARD_ADAPTIVE="false", DEEPGUARD_SAMPLE_RATE="2") as service:

        async def holds(calls: int) -> bool:
            load = BenchLoad(clip, calls, options.seconds, prefix=f"bench-{len(trials)}")
            trials.append(await run_calls(service, load, progress))
            return trials[-1].sustained

        if options.find:
            await find_largest(holds, options.calls)
        else:
            await holds(options.calls)
    naive = await _naive(clip, options.seconds, progress) if options.naive else None
    held = [trial for trial in trials if trial.sustained]
    run = max(held, key=lambda trial: trial.calls) if held else trials[-1]
    return LiveResult(options, run, trials, naive, machine)


async def _naive(clip: Path, seconds: float, progress: ProgressReporter) -> BaselineResult:
    progress.step("measuring the baseline", 0, 1)
    limit_s = _NAIVE_START_S + _NAIVE_PLAYS * seconds
    out = await run_json("api.bench.live_baseline", str(clip), f"{seconds:g}", timeout_s=limit_s)
    progress.step("measuring the baseline", 1, 1)
    return msgspec.json.decode(out, type=BaselineResult)


class _ProgressBar:
    """A progress bar whose description names the current step."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("starting the service", total=None)

    def step(self, what: str, done: float, total: float) -> None:
        self._progress.update(self._task, description=what, completed=done, total=total)


@contextmanager
def _progress() -> Iterator[_ProgressBar]:
    """Shows a bar on stderr if it is a terminal."""
    console = Console(stderr=True)
    percent = TextColumn("{task.percentage:>3.0f} %")
    columns = TextColumn("{task.description}"), BarColumn(), percent, TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield _ProgressBar(progress)
