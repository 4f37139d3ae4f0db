"""Gateway: start position, order of ends, outages."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from consumers.broker import Message
from consumers.config import Topics
from consumers.gateway import START_BACK_S, Gateway
from consumers.verdict_records import state_message, tombstone, verdict_message
from stream.events import StreamEnded, StreamStarted, Verdict
from tests.consumers.verdicts_support import ended, verdict
from tests.memory_broker.broker import MemoryBroker
from tests.stream.sinks import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from stream.events import Event

TOPICS = Topics()


class Cluster:
    """An in-memory broker with a settable clock, and writes in a consumer's order."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.broker = MemoryBroker({TOPICS.verdicts: 2, TOPICS.states: 2}, now_s=lambda: self.now_s)

    async def say(self, event: Verdict | StreamEnded, partition: int = 0) -> None:
        """Writes a verdict and then the resulting state, as a consumer does."""
        writer = await self.broker.writer()
        if isinstance(event, Verdict):
            await writer.write(verdict_message(TOPICS.verdicts, partition, event))
        await writer.write(state_message(TOPICS.states, partition, event))

    async def write(self, message: Message) -> None:
        await (await self.broker.writer()).write(message)


@asynccontextmanager
async def running(cluster: Cluster) -> AsyncIterator[tuple[Gateway, list[Event]]]:
    events: list[Event] = []
    gateway = Gateway(cluster.broker, TOPICS, events.append)
    task = asyncio.create_task(gateway.run())
    try:
        yield gateway, events
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def words(events: list[Event]) -> list[str]:
    return [event.id if isinstance(event, Verdict) else f"{type(event).__name__} {event.stream}" for event in events]


async def test_the_gateway_starts_with_recent_verdicts() -> None:
    cluster = Cluster()
    cluster.now_s = time.time() - START_BACK_S - 5
    await cluster.say(verdict("old", 1))
    cluster.now_s = time.time() - START_BACK_S + 10
    await cluster.say(verdict("a", 8), partition=1)
    async with running(cluster) as (gateway, events):
        await until(lambda: len(events) == 2)
        cluster.now_s = time.time()
        await cluster.say(verdict("a", 9), partition=1)
        await cluster.say(verdict("old", 2))
        await until(lambda: len(events) == 5)
        assert gateway.unreachable_s < 60
    assert words([e for e in events if e.stream == "a"]) == ["StreamStarted a", "a/1/8", "a/1/9"]
    assert words([e for e in events if e.stream == "old"]) == ["StreamStarted old", "old/1/2"]


async def test_an_end_follows_all_earlier_verdicts() -> None:
    """They are in two topics, and a reader may receive the newer one first."""
    cluster = Cluster()
    cluster.now_s = time.time()
    for sequence in range(1, 2501):
        await cluster.write(verdict_message(TOPICS.verdicts, 0, verdict("a", sequence)))
    await cluster.write(state_message(TOPICS.states, 0, ended("a")))
    async with running(cluster) as (_, events):
        await until(lambda: bool(events) and isinstance(events[-1], StreamEnded))
    assert words(events) == ["StreamStarted a", *(f"a/1/{n}" for n in range(1, 2501)), "StreamEnded a"]


async def test_foreign_records_are_skipped_and_counted() -> None:
    cluster = Cluster()
    cluster.now_s = time.time()
    await cluster.write(Message(TOPICS.verdicts, b"a", b"\xff not json", (), 0))
    await cluster.write(Message(TOPICS.verdicts, b"a", b'{"type":"verdict"}', (), 0))
    await cluster.write(tombstone(TOPICS.states, 0, "a"))
    await cluster.say(verdict("a", 1))
    async with running(cluster) as (gateway, events):
        await until(lambda: len(events) == 2)
        assert gateway.skipped == 2


async def test_an_outage_is_waited_out() -> None:
    cluster = Cluster()
    cluster.now_s = time.time()
    cluster.broker.log.is_up = False
    async with running(cluster) as (gateway, events):
        await asyncio.sleep(0.1)
        assert gateway.unreachable_s == float("inf")
        cluster.broker.log.is_up = True
        await cluster.say(verdict("a", 1))
        await until(lambda: len(events) == 2)
    assert isinstance(events[0], StreamStarted)


async def test_reading_resumes_at_its_position_after_a_long_outage() -> None:
    cluster = Cluster()
    cluster.now_s = time.time()
    await cluster.say(verdict("a", 1))
    async with running(cluster) as (gateway, events):
        await until(lambda: len(events) == 2)
        cluster.broker.log.is_up = False
        await until(lambda: gateway.unreachable_s > 6.5)        # the outage is noticed
        cluster.broker.log.is_up = True
        cluster.now_s = time.time() - 10 * START_BACK_S             # simulates records written long ago
        for event in (verdict("a", 2), verdict("a", 3), ended("a")):
            await cluster.say(event)
        await until(lambda: len(events) == 5)
    assert words(events) == ["StreamStarted a", "a/1/1", "a/1/2", "a/1/3", "StreamEnded a"]
