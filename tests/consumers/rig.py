"""Test rig: a consumer on the in-memory broker."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from consumers.broker import Message, PartitionId
from consumers.config import ConsumerConfig, Topics
from consumers.consumer import Consumer
from consumers.verdict_records import RepeatFilter, state_of
from stream import event_encoding
from stream.events import Verdict
from stream.worker_pool import PoolConfig
from tests.consumers.media import record
from tests.memory_broker.broker import MemoryBroker
from tests.stream.sinks import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from consumers.broker import Headers, Record
    from consumers.consumer_context import AlarmSink
    from consumers.media_contract import Item
    from consumers.verdict_records import State
    from stream.protocols import Workers

PARTITIONS = 2
TOPICS = Topics()
CONFIG = ConsumerConfig(commit_every_s=0.05)
POOL = PoolConfig(
    workers=1, unit_queue=CONFIG.units_in_flight, unit_queue_bytes=CONFIG.units_in_flight * CONFIG.unit_bytes,
    close_limit_s=30.0,
)


class Ground:
    """An in-memory broker with all topics, and access to its records."""

    def __init__(self) -> None:
        self.broker = MemoryBroker({
            TOPICS.media: PARTITIONS, TOPICS.verdicts: PARTITIONS, TOPICS.states: PARTITIONS, TOPICS.dead_letters: 1
        })

    async def write(self, items: Iterable[Item]) -> None:
        writer = await self.broker.writer()
        for item in items:
            await writer.write(record(TOPICS.media, item))

    def records(self, topic: str) -> list[Record]:
        partition_ids = self.broker.log.partition_ids([topic])
        return [found for partition_id in partition_ids for found in self.broker.log.records(partition_id)]

    async def write_raw(self, key: bytes | None, value: bytes | None, headers: Headers) -> None:
        """Appends a record unchecked: it may break the contract and the rules of `Writer`."""
        self.broker.log.append(Message(TOPICS.media, key, value, headers, partition=0))

    def dead_letters(self) -> list[dict[str, bytes]]:
        """Returns the `dlq.*` headers of each dead letter."""
        return [
            {name.removeprefix("dlq."): value or b"" for name, value in row.headers if name.startswith("dlq.")}
            for row in self.records(TOPICS.dead_letters)
        ]

    def verdicts(self, stream: str | None = None) -> list[Verdict]:
        found = [event_encoding.decode(row.value or b"") for row in self.records(TOPICS.verdicts)]
        return [v for v in found if isinstance(v, Verdict) and stream in (None, v.stream)]

    def states(self) -> dict[str, State | None]:
        return {(row.key or b"").decode(): state_of(row) for row in self.records(TOPICS.states)}

    def history(self, stream: str) -> list[State | None]:
        """Returns all states of one stream, in order."""
        return [state_of(row) for row in self.records(TOPICS.states) if row.key == stream.encode()]

    def committed(self) -> dict[int, int]:
        """Returns the committed offset per media partition."""
        return {partition_id.partition: at for partition_id, at in self.broker.committed(CONFIG.group).items()}

    def is_read(self) -> bool:
        """Returns whether all written media is committed."""
        ends = {p: len(self.broker.log.records(PartitionId(TOPICS.media, p))) for p in range(PARTITIONS)}
        return all(self.committed().get(partition, 0) == end for partition, end in ends.items())


@asynccontextmanager
async def consuming(
    ground: Ground, pool: Workers, config: ConsumerConfig = CONFIG, alarms: AlarmSink | None = None
) -> AsyncIterator[Consumer]:
    """Runs one consumer and stops it at the end."""
    consumer, stop = Consumer(ground.broker, pool, config, alarms), asyncio.Event()
    task = asyncio.create_task(consumer.run(stop))
    try:
        yield consumer
    finally:
        stop.set()
        await task


async def finished(ground: Ground, limit_s: float = 40.0) -> None:
    """Waits until all written media is committed."""
    await until(ground.is_read, limit_s)


def once(verdicts: list[Verdict]) -> list[Verdict]:
    """Returns the verdicts without repeats."""
    repeats = RepeatFilter()
    return [verdict for verdict in verdicts if repeats.is_new(verdict)]


def figures(verdicts: list[Verdict]) -> dict[str, tuple[float, float | None]]:
    """Returns coverage and score by verdict id: they must not depend on the consumer."""
    return {v.id: (v.coverage, None if v.llr is None else round(v.llr, 3)) for v in verdicts}
