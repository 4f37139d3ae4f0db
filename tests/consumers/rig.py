"""A consumer with real workers on the broker in memory."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from consumers.broker import Place
from consumers.config import ConsumeConfig, Topics
from consumers.consume import Consumer
from consumers.memory import MemoryBroker
from consumers.verdicts import state_of
from stream import wire
from stream.events import Verdict
from stream.pool import PoolConfig, WorkerPool
from tests.consumers.media import record
from tests.stream.sinks import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from consumers.broker import Record
    from consumers.contract import Item
    from consumers.verdicts import State

PARTITIONS = 2
TOPICS = Topics()
CONFIG = ConsumeConfig(commit_every_s=0.05)
POOL = PoolConfig(workers=1, unit_queue=CONFIG.in_hand, unit_queue_bytes=CONFIG.in_hand * CONFIG.unit_bytes,
                  close_limit_s=30.0)


class Ground:
    """A broker with our topics."""

    def __init__(self) -> None:
        self.broker = MemoryBroker({
            TOPICS.media: PARTITIONS, TOPICS.verdicts: PARTITIONS, TOPICS.states: PARTITIONS, TOPICS.dead_letters: 1
        })

    async def write(self, items: Iterable[Item]) -> None:
        writer = await self.broker.writer()
        for item in items:
            await writer.write(record(TOPICS.media, item))

    def records(self, topic: str) -> list[Record]:
        places = self.broker.log.places([topic])
        return [found for place in places for found in self.broker.log.records(place)]

    def verdicts(self, stream: str | None = None) -> list[Verdict]:
        found = [wire.decode(row.value or b"") for row in self.records(TOPICS.verdicts)]
        return [v for v in found if isinstance(v, Verdict) and stream in (None, v.stream)]

    def states(self) -> dict[str, State | None]:
        return {(row.key or b"").decode(): state_of(row) for row in self.records(TOPICS.states)}

    def committed(self) -> dict[int, int]:
        """By partition of the media topic."""
        return {place.partition: at for place, at in self.broker.committed(CONFIG.group).items()}

    def is_read(self) -> bool:
        """Whether everything is committed."""
        ends = {p: len(self.broker.log.records(Place(TOPICS.media, p))) for p in range(PARTITIONS)}
        return all(self.committed().get(partition, 0) == end for partition, end in ends.items())


@asynccontextmanager
async def consuming(ground: Ground, pool: WorkerPool, config: ConsumeConfig = CONFIG) -> AsyncIterator[Consumer]:
    """One consumer, which is told to stop at the end."""
    consumer, stop = Consumer(ground.broker, pool, config), asyncio.Event()
    task = asyncio.create_task(consumer.run(stop))
    try:
        yield consumer
    finally:
        stop.set()
        await task


async def finished(ground: Ground, limit_s: float = 60.0) -> None:
    """Until everything that was written is committed."""
    await until(ground.is_read, limit_s)
