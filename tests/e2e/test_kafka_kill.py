"""Consumers are killed, stopped and moved about, the broker goes away: no verdict is lost, none is there twice.

The undisturbed run says what is expected. A control that commits what it has read, as is usual, loses verdicts under
the same injuries: so these would be noticed.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from consumers.retrying_writer import RetryingWriter
from consumers.verdict_records import RepeatFilter
from tests.consumers.media import call, record
from tests.e2e.kafka_support import SESSION_S, Course, Member
from tests.stream.sinks import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream.events import Verdict
    from tests.kafka.cluster import LocalCluster

STREAMS, PARTITIONS, MEMBERS, FRAMES = 18, 6, 3, 59
KILLS, STOPS = 10, 2
SETTINGS = {"DEEPGUARD_WINDOW_S": "2", "DEEPGUARD_HOP_S": "0.5", "DEEPGUARD_SAMPLE_RATE": "2"}
CONTROL_S = 20
SEED = int(os.environ.get("DEEPGUARD_TEST_SEED", "1"))
CARELESS = (str(Path(__file__).with_name("careless_consumer.py")),)
TOLERANCE = 1e-3

pytestmark = pytest.mark.timeout(400)


def names() -> list[str]:
    return [f"call-{n}" for n in range(STREAMS)]


async def publish(course: Course, over_s: float = 0.0) -> None:
    """All streams side by side, spread over this time. What is not acknowledged is written again."""
    writer = await course.broker.writer()
    out = RetryingWriter(writer, 1.0)
    calls = [call(name, FRAMES, person=("obama", "biden")[n % 2]) for n, name in enumerate(names())]
    began_s = time.monotonic()
    try:
        for row, items in enumerate(zip(*calls, strict=True)):
            await asyncio.sleep(max(0.0, began_s + over_s * row / FRAMES - time.monotonic()))
            for n, item in enumerate(items):
                await out.write(record(course.topics.media, item, n % PARTITIONS))
    finally:
        await writer.close()


@contextmanager
def members(course: Course, folder: Path, program: tuple[str, ...] | None = None) -> Iterator[list[Member]]:
    """Two keep their names over restarts, so that these move nothing; the third is new each time."""
    made = [Member(course, name, folder, SETTINGS) for name in ("one", "two", "")][:MEMBERS]
    for member in made:
        member.program = program or member.program
        member.start()
    try:
        yield made
    finally:
        for member in made:
            member.end()


async def injure(cluster: LocalCluster, group: list[Member], chance: random.Random) -> None:
    """Everything that happens to machines, in an order that the seed chooses."""
    injuries = ["kill"] * KILLS + ["stop"] * STOPS + ["broker", "roll"]
    chance.shuffle(injuries)
    for injury in injuries:
        await asyncio.sleep(chance.uniform(1.0, 2.5))
        member = chance.choice(group)
        match injury:
            case "kill":
                member.kill()
                member.start()
            case "stop":
                member.signal(signal.SIGSTOP)
                await asyncio.sleep(SESSION_S + 2)
                member.signal(signal.SIGCONT)
            case "broker":
                await asyncio.to_thread(cluster.nodes[0].stop)
                cluster.nodes[0].start()
                await asyncio.to_thread(cluster.wait_ready)
            case "roll":
                for each in group:
                    await until(lambda each=each: each.is_working)
                    assert await asyncio.to_thread(each.stop) == 0
                    each.start()


def once(verdicts: list[Verdict]) -> list[Verdict]:
    """As a reader sees them."""
    repeats = RepeatFilter()
    return [verdict for verdict in verdicts if repeats.is_new(verdict)]


def gaps(verdicts: list[Verdict]) -> int:
    rows = {name: [v.sequence for v in verdicts if v.stream == name] for name in names()}
    return sum(later != earlier + 1 for row in rows.values() for earlier, later in pairwise(row))


@pytest.fixture(scope="module")
def expected(own_kafka: LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> list[Verdict]:
    """What is written when nothing happens."""
    return asyncio.run(undisturbed(own_kafka, tmp_path_factory.mktemp("undisturbed")))


async def undisturbed(cluster: LocalCluster, folder: Path) -> list[Verdict]:
    course = Course.on(cluster, PARTITIONS)
    await publish(course)
    with members(course, folder):
        await course.until_ended(STREAMS, 120)
    return await course.verdicts()


def test_undisturbed_every_verdict_is_written_once(expected: list[Verdict]) -> None:
    assert len(expected) >= 1000
    assert gaps(expected) == 0
    assert once(expected) == expected
    assert all(len(v.faces) == 1 for v in expected)
    assert sum(v.llr is not None for v in expected) > 0.9 * len(expected), "there are scores to compare"


async def test_nothing_is_lost_whatever_happens(
    own_kafka: LocalCluster, expected: list[Verdict], tmp_path: Path
) -> None:
    course = Course.on(own_kafka, PARTITIONS)
    with members(course, tmp_path) as group:
        began_s = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(publish(course, over_s=60))
            tasks.create_task(injure(own_kafka, group, random.Random(SEED)))
        injured_s = time.monotonic() - began_s
        await course.until_ended(STREAMS, 120)
        for member in group:
            member.require_alive()
    raw = await course.verdicts()
    print(f"{len(expected)} expected, {len(raw)} written, injured for {injured_s:.0f} s, "
          f"{time.monotonic() - began_s:.0f} s in all")
    seen = once(raw)
    assert missing(expected, seen) == set()
    assert [v.id for v in sorted(seen, key=place)] == [v.id for v in sorted(expected, key=place)]
    assert gaps(seen) == 0
    alike = {v.id: v for v in expected}
    assert [v.id for v in raw if v.coverage != alike[v.id].coverage or not is_near(v.llr, alike[v.id].llr)] == []


async def test_the_usual_way_loses_verdicts(
    own_kafka: LocalCluster, expected: list[Verdict], tmp_path: Path
) -> None:
    course = Course.on(own_kafka, PARTITIONS)
    with members(course, tmp_path, CARELESS) as group:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(publish(course, over_s=CONTROL_S))
            tasks.create_task(kill_all(group, CONTROL_S))
        with suppress(TimeoutError):        # the end of a stream may be among what is lost
            await course.until_ended(STREAMS, 60)
    seen = once(await course.verdicts())
    lost = missing(expected, seen)
    print(f"{len(lost)} of {len(expected)} lost, {gaps(seen)} gaps")
    assert lost
    assert gaps(seen)


async def kill_all(group: list[Member], over_s: float) -> None:
    """One after the other, once each."""
    for member in group:
        await asyncio.sleep(over_s / (len(group) + 1))
        member.kill()
        member.start()


def missing(expected: list[Verdict], seen: list[Verdict]) -> set[str]:
    return {v.id for v in expected} - {v.id for v in seen}


def place(verdict: Verdict) -> tuple[str, int]:
    return verdict.stream, verdict.sequence


def is_near(score: float | None, other: float | None) -> bool:
    return score == other if score is None or other is None else abs(score - other) <= TOLERANCE
