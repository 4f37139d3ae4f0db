"""The result of `deepguard bench live` as a table and as JSON."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.table import Table

from api.bench.options import AGE_BAR_MS, FRAME_RATE_HZ, RATE_HZ, SAMPLING_BAR
from api.bench.run_statistics import percentile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from api.bench.live_baseline import BaselineResult
    from api.bench.live_run import LiveRun
    from api.bench.options import LiveBenchOptions
    from api.bench.run_statistics import CallStatistics, Percentiles

PARTS = ("api", "workers", "publishers", "bench")


@dataclass(frozen=True, slots=True)
class LiveResult:
    """The result. `run` is the reported run: the only one, or the largest sustained one of a search, else the last.

    `machine` describes the machine before the first run.
    """

    options: LiveBenchOptions
    run: LiveRun
    trials: Sequence[LiveRun]
    naive: BaselineResult | None
    machine: dict[str, Any]

    @property
    def ratio(self) -> float | None:
        """DeepGuard's calls divided by the baseline's, under the same limits; None if either sustains none."""
        return self._over(self.naive.calls if self.naive else 0)

    @property
    def ratio_by_cost(self) -> float | None:
        """DeepGuard's calls divided by those that the baseline's measured costs allow."""
        return self._over(self.naive.by_cost if self.naive else 0)

    def _over(self, calls: float) -> float | None:
        return self.run.calls / calls if calls and self.run.sustained else None


def as_json(outcome: LiveResult) -> dict[str, Any]:
    """Returns the result: ages in ms, CPU in cores, memory in MiB, shares in 0..1; missing values are null."""
    run, options, figures = outcome.run, outcome.options, outcome.run.figures
    naive = outcome.naive
    return {
        "calls": run.calls, "codec": options.codec.value, "size": options.size.value, "fps": FRAME_RATE_HZ,
        "rate_hz": RATE_HZ, "seconds": _round(figures.seconds), "sustained": run.sustained,
        "bars": {"age_p95_ms": AGE_BAR_MS, "sampling_min": SAMPLING_BAR},
        "verdict_age_ms": _ages(figures.age_ms) | {"worst_call_p95": _round(figures.worst_call_p95_ms)},
        "sent_to_read_ms": _ages(figures.sent_to_read_ms),
        "sampling": _round(figures.sampling, 4), "sampling_min": _round(figures.sampling_min, 4),
        "samples_per_s": {"wanted": _round(figures.wanted_per_s), "got": _round(figures.got_per_s)},
        "sampling_by_call": {call.stream: _round(call.sampling, 4) for call in figures.calls},
        "verdicts": figures.verdicts, "frames_per_s": _round(figures.frames_per_s),
        "media_mbit_per_s": _round(run.payload_bytes_per_s * 8 / 1e6),
        "cpu": _cpu(run, outcome.machine["cores"]),
        "rss_mb": {part: round(run.rss.peak_mb.get(part, 0.0)) for part in PARTS},
        "rss_growth_mb": {part: round(run.rss.last_mb[part] - first, 1) for part, first in run.rss.first_mb.items()},
        "drops": figures.drops, "let_in": run.let_in, "cut_off": list(run.cut_off),
        "refusals": {"count": len(run.refusals_ms), "p99_ms": _round(percentile(run.refusals_ms, 0.99))},
        "publishers_late_p95_ms": _round(run.publishers_late_ms),
        "trials": [_trial(trial) for trial in outcome.trials],
        "naive": None if naive is None else {
            "calls": naive.calls, "calls_kept_up": naive.kept_up, "calls_by_cost": _round(naive.by_cost),
            "sample_ms": _round(naive.sample_ms), "decode_ms": _round(naive.decode_ms),
            "observed": [
                {"calls": o.calls, "sampling": _round(o.sampling, 4), "age_p95_ms": _round(o.p95_age_ms)}
                for o in naive.observed
            ],
        },
        "ratio": None if outcome.ratio is None else _round(outcome.ratio),
        "ratio_by_cost": None if outcome.ratio_by_cost is None else _round(outcome.ratio_by_cost),
        "machine": outcome.machine,
    }


def as_table(outcome: LiveResult) -> Table:
    run, options, figures = outcome.run, outcome.options, outcome.run.figures
    table = Table(title=f"{run.calls} calls of {options.size.value}{FRAME_RATE_HZ} {options.codec.value.upper()}, "
                        f"{RATE_HZ:g} samples/s each, {figures.seconds:.0f} s", title_justify="left")
    table.add_column("what", no_wrap=True)
    table.add_column("measured", overflow="fold")
    table.add_column("limit", no_wrap=True)
    worst = min(figures.calls, key=_share)
    cpu = _cpu(run, outcome.machine["cores"])
    table.add_row("verdict age p50/p95/p99", _ms(figures.age_ms), f"p95 <= {AGE_BAR_MS:.0f} ms")
    table.add_row("sent to read p50/p95/p99", _ms(figures.sent_to_read_ms), "")
    table.add_row("sampling", f"{figures.sampling:.1%}, worst call {worst.sampling:.1%} "
                              f"({figures.got_per_s:.1f} of {figures.wanted_per_s:.1f} samples/s)",
                  f"each >= {SAMPLING_BAR:.0%}")
    table.add_row("media", f"{figures.frames_per_s:.0f} frames/s, {run.payload_bytes_per_s * 8 / 1e6:.1f} Mbit/s", "")
    table.add_row("CPU, in cores", ", ".join(f"{part} {cpu[part]:.2f}" for part in (*PARTS, "others", "niced")), "")
    table.add_row("publishers' share", f"{cpu['publishers_share']:.1%} of {outcome.machine['cores']} cores; "
                                       f"frames left {run.publishers_late_ms:.0f} ms late at p95", "")
    table.add_row("memory, MiB", ", ".join(f"{part} {run.rss.peak_mb.get(part, 0):.0f}" for part in PARTS), "")
    table.add_row("drops", ", ".join(f"{cause} {n}" for cause, n in sorted(figures.drops.items())) or "none", "")
    if run.let_in < run.calls:
        table.add_row("admitted", f"{run.let_in} of {run.calls}", "all")
    if run.refusals_ms:
        took_ms = percentile(run.refusals_ms, 0.99)
        table.add_row("refusals", f"{len(run.refusals_ms)}, answered within {took_ms:.0f} ms at p99", "")
    if run.cut_off:
        table.add_row("cut off", "; ".join(run.cut_off[:3]), "none")
    if len(outcome.trials) > 1:
        table.add_row("searched", ", ".join(_trial_text(trial) for trial in outcome.trials), "")
    if outcome.naive is not None:
        table.add_row(*_naive_row(outcome, outcome.naive))
    table.add_row("sustained", "yes" if run.sustained else "no", "")
    return table


def _naive_row(outcome: LiveResult, naive: BaselineResult) -> tuple[str, str, str]:
    seen = ", ".join(f"{o.calls}: {o.sampling:.0%} at {o.p95_age_ms:.0f} ms" for o in naive.observed)
    counts = f"{naive.calls} by the same limits, {naive.by_cost:.2f} by cost ({naive.sample_ms:.0f} ms each; {seen})"
    ratios = (outcome.ratio, outcome.ratio_by_cost)
    told = ", ".join("none" if ratio is None else f"{ratio:.1f}" for ratio in ratios)
    return "baseline", f"{counts}; ratios {told}", ""


def _cpu(run: LiveRun, cores: int) -> dict[str, float]:
    parts = {part: _round(run.usage.cores.get(part, 0.0), 3) or 0.0 for part in PARTS}
    return parts | {
        "others": _round(run.usage.others, 3) or 0.0,
        "niced": _round(run.usage.niced, 3) or 0.0,
        "stolen": _round(run.usage.stolen, 3) or 0.0,
        "publishers_share": _round(run.usage.cores.get("publishers", 0.0) / cores, 4) or 0.0,
    }


def _trial(run: LiveRun) -> dict[str, Any]:
    return {
        "calls": run.calls, "sustained": run.sustained, "age_p95_ms": _round(run.figures.age_ms.p95),
        "sampling_min": _round(run.figures.sampling_min, 4), "others": _round(run.usage.others, 3),
    }


def _trial_text(run: LiveRun) -> str:
    return f"{run.calls} {'yes' if run.sustained else 'no'} ({run.figures.age_ms.p95:.0f} ms)"


def _share(call: CallStatistics) -> float:
    return call.sampling


def _ages(ages: Percentiles) -> dict[str, float | None]:
    return {name: _round(value) for name, value in ages._asdict().items()}


def _ms(ages: Percentiles) -> str:
    return " / ".join(f"{value:.0f}" for value in ages) + " ms"


def _round(value: float, digits: int = 2) -> float | None:
    return round(value, digits) if math.isfinite(value) else None
