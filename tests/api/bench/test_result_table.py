"""The outcome as JSON and as a table."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

from rich.console import Console

from api.bench.cpu_usage import CpuUsage, MemoryUsage
from api.bench.live_baseline import BaselineResult, BaselineTrial
from api.bench.live_run import CALLS_PER_PROCESS, BenchLoad, LiveRun
from api.bench.options import LiveBenchOptions
from api.bench.result_table import LiveResult, as_json, as_table
from api.bench.run_statistics import CallStatistics, Percentiles, RunStatistics

NONE = float("nan")
NAIVE = BaselineResult(
    sample_ms=400.0, decode_ms=0.5, by_cost=1.2,
    observed=(
        BaselineTrial(calls=1, sampling=1.0, p95_age_ms=410.0), BaselineTrial(calls=2, sampling=0.6, p95_age_ms=5000.0),
    ),
)


def run(
    calls: int = 20, p95_ms: float = 200.0, sampling: float = 0.99, out: int = 0, cut_off: tuple[str, ...] = ()
) -> LiveRun:
    each = tuple(CallStatistics(f"c{n}", sampling, 59, 900, {"superseded": 1}) for n in range(calls - out))
    ages = Percentiles(90.0, p95_ms, p95_ms + 50)
    return LiveRun(
        calls=calls, figures=RunStatistics(ages, Percentiles(NONE, NONE, NONE), p95_ms, 59 * calls, each, 30.0),
        usage=CpuUsage(30.0, {"api": 0.2, "workers": 1.2, "publishers": 0.16, "bench": 0.01}, 0.05, 0.3, 0.0),
        rss=MemoryUsage({"api": 100.0}, {"api": 101.5}, {"api": 110.2, "workers": 700.0}), publishers_late_ms=4.0,
        payload_bytes_per_s=1.25e6, refusals_ms=(3.0,) * 99 + (40.0, 50.0), cut_off=cut_off,
    )


def outcome(*runs: LiveRun, naive: BaselineResult | None = None) -> LiveResult:
    return LiveResult(LiveBenchOptions(), runs[0], runs, naive, {"cores": 2, "load_1min": 0.3})


def test_the_figures_are_there_for_programs() -> None:
    figures = as_json(outcome(run(), naive=NAIVE))
    assert figures["verdict_age_ms"] == {"p50": 90.0, "p95": 200.0, "p99": 250.0, "worst_call_p95": 200.0}
    assert figures["sampling_min"] == 0.99
    assert figures["sustained"]
    assert figures["cpu"] == {
        "api": 0.2, "workers": 1.2, "publishers": 0.16, "bench": 0.01, "others": 0.05, "niced": 0.3, "stolen": 0.0,
        "publishers_share": 0.08,
    }
    assert figures["rss_mb"] == {"api": 110, "workers": 700, "publishers": 0, "bench": 0}
    assert figures["rss_growth_mb"] == {"api": 1.5}
    assert figures["refusals"] == {"count": 101, "p99_ms": 40.0}
    assert figures["drops"] == {"superseded": 20}
    assert figures["media_mbit_per_s"] == 10.0
    assert (figures["naive"]["calls"], figures["naive"]["calls_by_cost"]) == (1, 1.2)
    assert (figures["ratio"], figures["ratio_by_cost"]) == (20.0, 16.67)


def test_missing_figures_are_null() -> None:
    figures = json.loads(json.dumps(as_json(outcome(run())), allow_nan=False))
    assert figures["sent_to_read_ms"] == {"p50": None, "p95": None, "p99": None}
    assert figures["naive"] is None
    assert figures["ratio"] is figures["ratio_by_cost"] is None


def test_a_run_that_does_not_hold_has_no_ratio() -> None:
    for bad in (run(p95_ms=501.0), run(sampling=0.94), run(out=1), run(cut_off=("c3: hung up",))):
        assert as_json(outcome(bad, naive=NAIVE))["ratio"] is None
        assert not as_json(outcome(bad))["sustained"]


def test_a_plain_design_that_holds_no_call_has_no_ratio_but_that_of_cost() -> None:
    slow = BaselineResult(
        sample_ms=600.0, decode_ms=0.5, by_cost=0.8, observed=(BaselineTrial(calls=1, sampling=0.8, p95_age_ms=5000.0),)
    )
    figures = as_json(outcome(run(), naive=slow))
    assert (figures["ratio"], figures["ratio_by_cost"]) == (None, 25.0)


def test_the_table_shows_the_result() -> None:
    out = StringIO()
    Console(file=out, width=160).print(as_table(outcome(run(), run(40, p95_ms=900.0), naive=NAIVE)))
    text = " ".join(out.getvalue().split())
    for part in (
        "20 calls of 360p30 VP8", "90 / 200 / 250 ms", "each >= 95%", "publishers 0.16", "8.0% of 2 cores",
        "superseded 20", "101, answered within 40 ms", "20 yes (200 ms), 40 no (900 ms)",
        "1 by the same limits, 1.20 by cost", "ratios 20.0, 16.7",
    ):
        assert part in text, text


def test_calls_are_dealt_out_evenly() -> None:
    load = BenchLoad(Path("clip"), CALLS_PER_PROCESS + 3, 1.0, "x")
    assert load.shares == (("x-0-", 22), ("x-1-", 21))
    assert len(set(load.streams)) == CALLS_PER_PROCESS + 3
    assert load.streams[0] == "x-0-0"
