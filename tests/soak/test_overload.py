"""Overload with three times the calls that the machine can judge: admitted ones are judged in time.

`DEEPGUARD_TEST_OVERLOAD_S` is the length of the overload. `DEEPGUARD_TEST_CAPACITY` is the number of calls that the
machine judges in time; if it is not given, the test searches for it. The test prints the figures and writes them to
`overload.json` in the folder `DEEPGUARD_TEST_OUT`, if given. Other load on the machine is reported as `others`."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from api.bench.capacity_search import find_largest
from api.bench.cpu_usage import BenchProcesses
from api.bench.live_run import BenchLoad, run_calls
from api.bench.options import BenchCodec, BenchSize
from api.bench.processes import Publishers, serving
from api.bench.run_statistics import percentile, percentiles
from api.bench.sample_clips import ensure_clip
from api.bench.verdict_recorder import VerdictRecorder, watching
from tests.api.offers import BROWSER_VIDEO_ONLY
from tests.soak.figures import show

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from api.bench.processes import Service

SECONDS = float(os.environ.get("DEEPGUARD_TEST_OVERLOAD_S", "300"))
CAPACITY = int(os.environ.get("DEEPGUARD_TEST_CAPACITY", "0"))
TIMES = 3
SEARCH_S, SEARCH_FROM, SEARCH_TRIES = 10.0, 16, 5
RAMP_S = 40.0
WARM_UP_SHARE = 1 / 3           # share of the run before memory is measured
LOOK_S = 0.5
RECOVER_S = 30.0

AGE_P99_MS = 2000.0
REFUSED_MS = 100.0
GROWTH_MB = 20.0
VERDICTS_PER_S = 0.4            # at 0.5 samples/s there is one verdict every two seconds
BASE_HZ, LEAST_HZ = 2.0, 0.5

pytestmark = [pytest.mark.soak, pytest.mark.timeout(SECONDS + 1500)]


class Quiet:
    """Progress output that prints nothing."""

    def step(self, what: str, done: float, total: float) -> None:
        """No-op."""


async def capacity_of(service: Service, clip: Path) -> int:
    """Returns roughly how many calls this machine judges in time."""
    if CAPACITY:
        return CAPACITY
    trials = 0

    async def holds(calls: int) -> bool:
        nonlocal trials
        trials += 1
        return (await run_calls(service, BenchLoad(clip, calls, SEARCH_S, f"search-{trials}"), Quiet())).sustained

    return max(1, await find_largest(holds, SEARCH_FROM, SEARCH_TRIES))


@dataclass
class Watcher:
    """Observes the service while calls are published: checks admission as a new caller would, and lists the calls."""

    service: Service
    client: httpx.AsyncClient
    refused_ms: list[float] = field(default_factory=list)
    rates_hz: dict[str, float] = field(default_factory=dict)
    slowest_hz: dict[str, float] = field(default_factory=dict)
    least: int = 0

    async def look(self, seconds: float, parts: BenchProcesses | None = None) -> None:
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            await self._ask_for_room()
            await self.list_calls()
            if parts is not None:
                parts.sample_memory()
            await asyncio.sleep(LOOK_S)

    async def _ask_for_room(self) -> None:
        began_s = time.monotonic()
        answer = await self.client.post(
            "/whip/one-more", content=BROWSER_VIDEO_ONLY, headers={"Content-Type": "application/sdp"}
        )
        took_ms = (time.monotonic() - began_s) * 1000
        if answer.status_code == 201:
            await self.client.delete(answer.headers["location"])
            return
        assert answer.status_code == 503, answer.text
        assert int(answer.headers["retry-after"]) >= 1
        self.refused_ms.append(took_ms)

    async def list_calls(self) -> None:
        streams = (await self.client.get("/v1/streams")).json()["streams"]
        judged = {s["stream"]: s["verdict"]["rate_hz"] for s in streams if s["state"] == "live" and s["verdict"]}
        self.rates_hz = judged
        for stream, rate_hz in judged.items():
            self.slowest_hz[stream] = min(rate_hz, self.slowest_hz.get(stream, BASE_HZ))


async def published(publishers: Publishers, service: Service, clip: Path, load: BenchLoad) -> None:
    for prefix, calls in load.shares:
        await publishers.start(f"{service.url}/whip", clip, prefix, calls)


def figures_of(watch: VerdictRecorder, streams: Sequence[str], from_s: float, to_s: float) -> dict[str, Any]:
    inside = {s: [a for a in watch.streams[s] if from_s <= a.at_s < to_s] for s in streams}
    ages = percentiles([a.age_ms for found in inside.values() for a in found])
    per_s = {s: len(found) / (to_s - from_s) for s, found in inside.items()}
    silences = [later.at_s - earlier.at_s for found in inside.values() for earlier, later in pairwise(found)]
    return {
        "age_ms": {name: round(value, 1) for name, value in ages._asdict().items()},
        "verdicts_per_s_min": round(min(per_s.values()), 3),
        "longest_silence_s": round(max(silences, default=to_s - from_s), 2),
    }


async def recovered_after_s(watcher: Watcher, within_s: float) -> float | None:
    """Returns the seconds until every call is sampled as before."""
    began_s = time.monotonic()
    while (passed_s := time.monotonic() - began_s) < within_s:
        await watcher.list_calls()
        if watcher.rates_hz and set(watcher.rates_hz.values()) == {BASE_HZ}:
            return round(passed_s, 1)
        await asyncio.sleep(LOOK_S)
    return None


async def overloaded(service: Service, clip: Path, capacity: int) -> dict[str, Any]:
    """Runs the overload and returns its figures. Half of the capacity stays on afterwards."""
    stay, rest = Publishers(), Publishers()
    few = BenchLoad(clip, max(1, capacity // 2), 0, "stay")
    many = BenchLoad(clip, TIMES * capacity - few.calls, 0, "rest")
    async with (
        watching(service.websocket_url) as watch,
        httpx.AsyncClient(base_url=service.url, timeout=20, trust_env=False) as client,
    ):
        watcher = Watcher(service, client)
        try:
            await published(stay, service, clip, few)
            await published(rest, service, clip, many)
            await watcher.look(RAMP_S)
            let_in = tuple(s for s in (*few.streams, *many.streams) if s in watch.streams)
            parts = BenchProcesses(service.pid, (*stay.pids, *rest.pids))
            before, from_s = parts.cpu(), time.monotonic()
            watcher.refused_ms.clear()
            await watcher.look(SECONDS * WARM_UP_SHARE)
            await watcher.look(SECONDS * (1 - WARM_UP_SHARE), parts)
            usage, to_s = before.until(parts.cpu()), time.monotonic()
            cut_off = [f"{lost.stream}: {lost.message}" for p in (stay, rest) for lost in p.lost.values()]
            gone = sorted(watch.ended & set(let_in))
            await rest.stop()
            recovered_s = await recovered_after_s(watcher, RECOVER_S)
        finally:
            for publishers in (stay, rest):
                await publishers.stop()
    memory = parts.memory
    return {
        "capacity": capacity, "offered": few.calls + many.calls, "let_in": len(let_in),
        "seconds": round(to_s - from_s, 1),
        **figures_of(watch, let_in, from_s, to_s),
        "cut_off": cut_off, "ended": gone,
        "refusals": {"asked_for": len(watcher.refused_ms), "p99_ms": round(percentile(watcher.refused_ms, 0.99), 1)},
        "rss_growth_mb": {part: round(memory.last_mb[part] - memory.first_mb[part], 1) for part in ("api", "workers")},
        "slowest_hz": min(watcher.slowest_hz.values()), "recovered_s": recovered_s,
        "cpu": {part: round(value, 2) for part, value in usage.cores.items()}, "others": round(usage.others, 2),
    }


async def test_three_times_the_capacity_harms_nobody_who_was_let_in(tmp_path: Path) -> None:
    clip = ensure_clip(tmp_path, BenchCodec.VP8, BenchSize.P360, lambda done, of: None)
    async with serving(DEEPGUARD_ADAPTIVE="false", DEEPGUARD_SAMPLE_RATE=f"{BASE_HZ:g}") as service:
        capacity = await capacity_of(service, clip)
        figures = await overloaded(service, clip, capacity)
    show("overload", figures)
    assert figures["cut_off"] == []
    assert figures["ended"] == []
    assert figures["let_in"] >= capacity // 2
    assert figures["age_ms"]["p99"] <= AGE_P99_MS
    assert figures["verdicts_per_s_min"] >= VERDICTS_PER_S
    assert figures["refusals"]["asked_for"] > 0
    assert figures["refusals"]["p99_ms"] <= REFUSED_MS
    assert all(growth <= GROWTH_MB for growth in figures["rss_growth_mb"].values())
    assert figures["slowest_hz"] == LEAST_HZ
    assert figures["recovered_s"] is not None
