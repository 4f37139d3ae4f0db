"""Broker outage: nothing is lost, memory stays bounded, readiness reports it, and the consumer recovers.

`DEEPGUARD_TEST_OUTAGE_S` says for how long.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest

from consumers.retrying_writer import RetryingWriter
from tests.consumers.media import call, record
from tests.e2e.kafka_support import Course, Member
from tests.kafka.cluster import free_ports

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from consumers.media_contract import Item
    from tests.kafka.cluster import LocalCluster

OUTAGE_S = float(os.environ.get("DEEPGUARD_TEST_OUTAGE_S", "20"))
STREAMS, FRAMES, PARTITIONS = 6, 60, 2
IDLE = {"DEEPGUARD_KAFKA_IDLE_S": "12"}     # shorter than the outage, during which all streams send
GROWTH_BYTES = 64 * 2**20

pytestmark = pytest.mark.timeout(240 + int(OUTAGE_S))


async def test_while_the_broker_is_away_everything_waits(own_kafka: LocalCluster, tmp_path: Path) -> None:
    course, port = Course.on(own_kafka, PARTITIONS), free_ports(1)[0].plain
    member = Member(course, "one", tmp_path, {"DEEPGUARD_HEALTH_PORT": str(port)} | IDLE)
    rows = list(zip(*(call(f"call-{n}", FRAMES) for n in range(STREAMS)), strict=True))
    member.start()
    try:
        await until_health(port, lambda health: health["status"] == "ready" and len(health["partitions"]) == PARTITIONS)
        await publish(course, rows[:30])
        await until_health(port, lambda health: all(p["lag"] == 0 for p in health["partitions"]))
        before_bytes = memory_bytes(member)
        writing = asyncio.create_task(publish(course, rows[30:40]))
        await asyncio.to_thread(own_kafka.nodes[0].stop)
        began_s = time.monotonic()
        await until_health(port, lambda health: health["reasons"] == ["broker_unreachable"])
        await asyncio.sleep(max(0.0, OUTAGE_S - (time.monotonic() - began_s)))
        assert memory_bytes(member) - before_bytes < GROWTH_BYTES
        own_kafka.nodes[0].start()
        await until_health(port, lambda health: health["status"] == "ready")
        await writing
        await publish(course, rows[40:])
        await course.until_ended(STREAMS, 120)
        member.require_alive()
        assert await asyncio.to_thread(member.stop) == 0
    finally:
        member.end()
    verdicts = await course.verdicts()
    for n in range(STREAMS):
        assert [v.sequence for v in verdicts if v.stream == f"call-{n}"] == list(range(FRAMES - 1))
    assert {v.coverage for v in verdicts if 0 < v.sequence < FRAMES - 2} == {1.0}


async def publish(course: Course, rows: list[tuple[Item, ...]]) -> None:
    writer = await course.broker.writer()
    out = RetryingWriter(writer, 1.0)
    try:
        for row in rows:
            for n, item in enumerate(row):
                await out.write(record(course.topics.media, item, n % PARTITIONS))
    finally:
        await writer.close()


async def until_health(port: int, is_so: Callable[[dict[str, Any]], bool], limit_s: float = 90) -> None:
    """Waits for this state of `/readyz`; checks the status code each time."""
    seen: dict[str, Any] = {}
    deadline_s = time.monotonic() + limit_s
    async with httpx.AsyncClient(trust_env=False) as client:
        while not (seen and is_so(seen)):
            assert time.monotonic() < deadline_s, seen
            await asyncio.sleep(0.2)
            try:
                answer = await client.get(f"http://127.0.0.1:{port}/readyz", timeout=10)
            except httpx.TransportError:
                continue
            seen = answer.json()
            assert (answer.status_code == 200) == (seen["status"] == "ready")


def memory_bytes(member: Member) -> int:
    """Of the process and its workers, pages that they share counted once."""
    process = psutil.Process(member.pid)
    return sum(each.memory_full_info().pss for each in (process, *process.children(recursive=True)))
