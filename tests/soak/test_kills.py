"""Kills and stops workers under live calls: only their calls show a gap, and soon have verdicts again.

`DEEPGUARD_TEST_KILLS` and `DEEPGUARD_TEST_STOPS` scale the test; `DEEPGUARD_TEST_SEED` chooses the moments. The test
prints a table and writes it to `kills.json` in the folder `DEEPGUARD_TEST_OUT`, if given. Other load on the machine is
reported as `others`.

A stream fails by design after workers have crashed or hung on it three times within 60 s. A worker killed from outside
(SIGKILL) blames no stream; a stopped one (SIGSTOP) counts as hanging. So stops are at least 30 s apart, with kills in
between, and no stream is blamed three times within 60 s."""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import signal
import time
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx
import psutil
import pytest
from websockets.asyncio.client import connect

from api.bench.cpu_usage import BenchProcesses
from api.bench.options import BenchCodec, BenchSize
from api.bench.processes import Publishers, serving
from api.bench.run_statistics import percentile
from api.bench.sample_clips import ensure_clip
from api.routes.events_websocket import PROTOCOL
from stream import event_encoding
from stream.events import StreamEnded, StreamGap, Verdict
from tests.soak.figures import show

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from api.bench.processes import Service
    from stream.events import Event

KILLS = int(os.environ.get("DEEPGUARD_TEST_KILLS", "20"))
STOPS = int(os.environ.get("DEEPGUARD_TEST_STOPS", "10"))
SEED = int(os.environ.get("DEEPGUARD_TEST_SEED", "1"))
CALLS, WORKERS = 8, 2
CALM_S, MOMENT_S = 2.0, 3.0         # before each injury: as before, and then up to this much longer
APART_S, STOPS_APART_S = 8.0, 30.0
NOTICED_S = 20.0                    # after this, a call counts as lost
LOOK_S = 0.004

RECOVERED_P95_S = 3.0

pytestmark = [pytest.mark.soak, pytest.mark.timeout((KILLS + STOPS) * 60 + 300)]


class Read(NamedTuple):
    """An event and the monotonic time at which it was read."""

    at_s: float
    event: Event


class Watch:
    """All events of all calls, as a WebSocket client reads them."""

    def __init__(self) -> None:
        self.read: list[Read] = []
        self.latest: dict[str, Read] = {}       # verdicts, by stream

    def take(self, text: str | bytes) -> None:
        message = json.loads(text)
        if message["type"] != "event":
            return
        read = Read(time.monotonic(), event_encoding.decode(json.dumps(message["event"]).encode()))
        self.read.append(read)
        if isinstance(read.event, Verdict):
            self.latest[read.event.stream] = read

    def of(self, stream: str, kind: type[Event], since_s: float) -> list[Read]:
        return [read for read in self.read if read.at_s >= since_s and isinstance(read.event, kind)
                and read.event.stream == stream]

    @property
    def epochs(self) -> dict[str, int]:
        return {stream: read.event.epoch for stream, read in self.latest.items()}

    def dropped(self, stream: str) -> dict[str, int]:
        """Dropped units by cause, from the latest verdict."""
        event = self.latest[stream].event
        assert isinstance(event, Verdict)
        return dict(event.frames.dropped)


@asynccontextmanager
async def watching(url: str) -> AsyncIterator[Watch]:
    watch = Watch()
    async with connect(url, subprotocols=[PROTOCOL], max_size=2**22, compression=None, proxy=None) as connection:     # type: ignore[list-item]
        await connection.send('{"type":"subscribe","stream":"*"}')

        async def read() -> None:
            async for text in connection:
                watch.take(text)

        reading = asyncio.create_task(read())
        try:
            yield watch
            assert not reading.done(), "the service hung up"
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


class Recovery(NamedTuple):
    """One call of a worker that was hurt. Seconds run from the signal: to the gap that is told, and to the first
    verdict on media after it. `covered` is the lowest coverage of the windows that hold media of the gap;
    `is_hushed_up` tells whether one of them wants fewer samples than its length holds. `lost` are the units counted as
    lost with the worker."""

    stream: str
    told_s: float
    judged_s: float
    covered: float
    is_hushed_up: bool
    lost: int

    def __str__(self) -> str:
        return f"{self.stream}: told {self.told_s:.2f} s, judged {self.judged_s:.2f} s, covered {self.covered:.2f}"


@dataclass
class Injury:
    """Effects of one signal."""

    number: signal.Signals
    at_s: float
    hurt: dict[str, Recovery] = field(default_factory=dict)
    harmed_others: list[str] = field(default_factory=list)


class Ward:
    """The service with its calls."""

    def __init__(self, service: Service, watch: Watch, client: httpx.AsyncClient) -> None:
        self._service = psutil.Process(service.pid)
        self._watch = watch
        self._client = client
        self.streams = tuple(f"call-{number}" for number in range(CALLS))

    async def is_calm(self) -> bool:
        """Whether two workers are ready and every call had a verdict within the last two seconds."""
        if (await self._client.get("/readyz")).json()["workers_ready"] != WORKERS:
            return False
        late_s = time.monotonic() - CALM_S
        return all(stream in self._watch.latest and self._watch.latest[stream].at_s > late_s for stream in self.streams)

    async def until_calm(self, limit_s: float = 90.0) -> None:
        """Waits until the service has been calm for a while without a break."""
        async with asyncio.timeout(limit_s):
            since_s = time.monotonic()
            while time.monotonic() - since_s < CALM_S:
                await asyncio.sleep(0.1)
                if not await self.is_calm():
                    since_s = time.monotonic()

    async def holdings(self) -> dict[int, set[str]]:
        """Which worker judges which calls: what each notes that it has in its hands, looked at for a while.

        Calls may be about to move to the other worker; this waits until each has been seen in one only.
        """
        async with asyncio.timeout(60):
            while True:
                seen = {worker.pid: await asyncio.to_thread(_seen_in_hand, worker.pid) for worker in self._workers()}
                if sorted(stream for held in seen.values() for stream in held) == sorted(self.streams):
                    return seen

    def _workers(self) -> list[psutil.Process]:
        return [child for child in self._service.children() if "stream.worker_main" in child.cmdline()]

    async def hurt(self, injury: Injury, pid: int, held: Mapping[int, set[str]]) -> None:
        """Sends the signal and waits until every call has recovered."""
        before, epochs = {stream: self._watch.dropped(stream) for stream in self.streams}, self._watch.epochs
        injury.at_s = time.monotonic()
        os.kill(pid, injury.number)
        await self._wait(lambda: all(self._recovered_at_s(stream, injury) for stream in held[pid]), NOTICED_S)
        await self.until_calm()
        for stream in self.streams:
            lost = self._watch.dropped(stream).get("worker_lost", 0) - before[stream].get("worker_lost", 0)
            if stream in held[pid]:
                injury.hurt[stream] = self._recovery(stream, injury, lost)
            gaps = [] if stream in held[pid] else self._watch.of(stream, StreamGap, injury.at_s)
            injury.harmed_others += [f"{stream}: gap by {read.event.cause}" for read in gaps]     # type: ignore[union-attr]
            if lost and stream not in held[pid]:
                injury.harmed_others.append(f"{stream}: {lost} units lost")
            if self._watch.epochs[stream] != epochs[stream] or self._watch.of(stream, StreamEnded, injury.at_s):
                injury.harmed_others.append(f"{stream}: began anew, or ended")

    def _gap(self, stream: str, injury: Injury) -> Read | None:
        gaps = self._watch.of(stream, StreamGap, injury.at_s)
        return next((read for read in gaps if read.event.cause == "worker_lost"), None)     # type: ignore[union-attr]

    def _recovered_at_s(self, stream: str, injury: Injury) -> float | None:
        """Returns when the first verdict on media after the gap was read."""
        gap = self._gap(stream, injury)
        if gap is None:
            return None
        for read in self._watch.of(stream, Verdict, gap.at_s):
            if read.event.samples and read.event.end_s > gap.event.from_s:     # type: ignore[union-attr]
                return read.at_s
        return None

    def _recovery(self, stream: str, injury: Injury, lost: int) -> Recovery:
        gap, at_s = self._gap(stream, injury), self._recovered_at_s(stream, injury)
        if gap is None or at_s is None:
            return Recovery(stream, math.inf, math.inf, 1.0, False, lost)
        from_s = gap.event.from_s       # type: ignore[union-attr]
        verdicts = [read.event for read in self._watch.of(stream, Verdict, gap.at_s)]
        across = [verdict for verdict in verdicts if verdict.start_s <= from_s + 1]     # type: ignore[union-attr]
        slowest_hz = min((read.event.rate_hz for read in self._watch.of(stream, Verdict, gap.at_s - 5)), default=0.0)     # type: ignore[union-attr]
        covered = min((verdict.coverage for verdict in across), default=1.0)     # type: ignore[union-attr]
        is_hushed_up = any(v.wanted < (v.end_s - v.start_s) * slowest_hz - 1 for v in across)     # type: ignore[union-attr]
        return Recovery(stream, gap.at_s - injury.at_s, at_s - injury.at_s, covered, is_hushed_up, lost)

    @staticmethod
    async def _wait(condition: Callable[[], bool], limit_s: float) -> None:
        end_s = time.monotonic() + limit_s
        while not condition() and time.monotonic() < end_s:
            await asyncio.sleep(0.02)


def _seen_in_hand(pid: int, for_s: float = 1.5) -> set[str]:
    """The streams that this worker noted in its shared memory, which outlives it: that is how crashes get a culprit."""
    notes = [fd for fd in Path(f"/proc/{pid}/fd").iterdir() if "memfd:in-hand" in os.readlink(fd)]
    seen: set[str] = set()
    end_s = time.monotonic() + for_s
    with notes[0].open("rb", buffering=0) as memory:
        while time.monotonic() < end_s:
            memory.seek(0)
            note = memory.read(512).split(b"\0", 1)[0].decode(errors="replace")
            seen.add(note.partition("/")[2])
            time.sleep(LOOK_S)
    return seen - {""}


def order() -> list[signal.Signals]:
    """Returns kills and stops alternating as evenly as their numbers allow, kills first."""
    every = (KILLS + STOPS) / STOPS if STOPS else math.inf
    stops = {round((turn + 1) * every) - 1 for turn in range(STOPS)}
    return [signal.SIGSTOP if number in stops else signal.SIGKILL for number in range(KILLS + STOPS)]


async def injure(ward: Ward, parts: BenchProcesses, rng: random.Random) -> tuple[list[Injury], list[float]]:
    """All injuries, one after the other, each at a moment of calm; and what else ran on the machine, in cores."""
    injuries: list[Injury] = []
    others: list[float] = []
    stopped_s = last_s = -math.inf
    for number in order():
        await ward.until_calm()
        rest_s = max(last_s + APART_S, stopped_s + STOPS_APART_S if number is signal.SIGSTOP else 0) - time.monotonic()
        before = parts.cpu()
        await asyncio.sleep(max(0.0, rest_s) + rng.uniform(0.5, MOMENT_S))
        used = before.until(parts.cpu())
        others.append(used.others + used.niced)
        held = await ward.holdings()
        injury = Injury(number, 0.0)
        await ward.hurt(injury, rng.choice(sorted(held)), held)
        last_s = injury.at_s
        stopped_s = injury.at_s if number is signal.SIGSTOP else stopped_s
        injuries.append(injury)
        told = (*injury.hurt.values(), *injury.harmed_others)
        load = " ".join(f"{part} {cores:.2f}" for part, cores in [*used.cores.items(), ("others", others[-1])])
        print(f"{len(injuries):3} {number.name} (cores before: {load})", *told, sep="\n    ", flush=True)
    return injuries, others


def figures_of(injuries: Sequence[Injury], others: Sequence[float]) -> dict[str, Any]:
    by_kind = {
        number.name: [call for injury in injuries if injury.number is number for call in injury.hurt.values()]
        for number in (signal.SIGKILL, signal.SIGSTOP)
    }
    by_kind["all"] = [call for calls in by_kind.values() for call in calls]
    return {
        "seed": SEED, "calls": CALLS, "workers": WORKERS,
        "injuries": Counter(injury.number.name for injury in injuries),
        "judged_s": {kind: _spread([call.judged_s for call in calls]) for kind, calls in by_kind.items()},
        "told_s": {kind: _spread([call.told_s for call in calls]) for kind, calls in by_kind.items()},
        "hurt_per_injury": [len(injury.hurt) for injury in injuries],
        "harmed_others": [text for injury in injuries for text in injury.harmed_others],
        "lowest_coverage_p50": percentile([call.covered for call in by_kind["all"]], 0.5),
        "units_lost": {kind: sum(call.lost for call in calls) for kind, calls in by_kind.items()},
        "hushed_up": [str(call) for call in by_kind["all"] if call.is_hushed_up],
        "coverage_fell": {kind: sum(call.covered < 1 for call in calls) for kind, calls in by_kind.items()},
        "others_cores": {"mean": round(sum(others) / len(others), 2), "max": round(max(others), 2)},
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {}
    return {name: round(percentile(values, at), 2) for name, at in (("p50", 0.5), ("p95", 0.95), ("max", 1.0))} | {
        "calls": len(values)
    }


async def test_who_loses_a_worker_is_soon_judged_again_and_nobody_else_notices(tmp_path: Path) -> None:
    clip = ensure_clip(tmp_path, BenchCodec.VP8, BenchSize.P360, lambda done, of: None)
    publishers = Publishers()
    async with (
        serving(DEEPGUARD_WORKERS=str(WORKERS), DEEPGUARD_ADAPTIVE="false") as service,
        watching(service.websocket_url) as watch,
        httpx.AsyncClient(base_url=service.url, timeout=20, trust_env=False) as client,
    ):
        try:
            await publishers.start(f"{service.url}/whip", clip, "call-", CALLS)
            parts = BenchProcesses(service.pid, publishers.pids)
            injuries, others = await injure(Ward(service, watch, client), parts, random.Random(SEED))
            lost = {stream: call.message for stream, call in publishers.lost.items()}
        finally:
            await publishers.stop()
    figures = figures_of(injuries, others) | {"calls_lost": lost}
    show("kills", figures)
    assert len(injuries) == KILLS + STOPS
    assert figures["calls_lost"] == {}
    assert all(hurt == CALLS // WORKERS for hurt in figures["hurt_per_injury"]), "calls were not spread"
    assert figures["harmed_others"] == [], f"while other things kept cores busy: {figures['others_cores']}"
    assert figures["judged_s"]["all"]["p95"] <= RECOVERED_P95_S
    assert figures["hushed_up"] == []
    assert figures["coverage_fell"]["SIGSTOP"] >= STOPS * CALLS // WORKERS / 2, "a second without one costs samples"
