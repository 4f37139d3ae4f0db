"""Kafka reader: reads partitions from chosen offsets, without a consumer group."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from consumers.kafka.connection import connection_options, fetch_options
from consumers.kafka.errors import translated
from consumers.kafka.records import partition_ids_of, records_of, take
from consumers.kafka.shutdown import stop

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from consumers.broker import PartitionId, Record
    from consumers.kafka.config import KafkaConfig


class KafkaReader:
    """A `consumers.broker.Reader`. Ignores partitions that are added to a topic later."""

    def __init__(self, consumer: Any, partitions: frozenset[TopicPartition], config: KafkaConfig) -> None:
        self._consumer = consumer
        self._partitions = partitions
        self._limit_s = config.request_timeout_s

    @classmethod
    async def connect(cls, config: KafkaConfig, topics: Sequence[str]) -> KafkaReader:
        consumer = AIOKafkaConsumer(
            *topics, **connection_options(config), **fetch_options(config), group_id=None,
            request_timeout_ms=int(config.request_timeout_s * 1000),
        )
        try:
            with translated(", ".join(topics)):
                await consumer.start()
        except BaseException:
            await stop(consumer)
            raise
        partitions = frozenset(consumer.assignment())
        consumer.unsubscribe()      # a subscription restarts whenever the partitions change
        return cls(consumer, partitions, config)

    async def ends(self) -> dict[PartitionId, int]:
        with translated():
            async with asyncio.timeout(self._limit_s):
                found = await self._consumer.end_offsets(self._partitions)
        return {partition_id: found[partition_id] for partition_id in partition_ids_of(self._partitions)}

    async def seek(self, offsets: Mapping[PartitionId, int]) -> None:
        self._consumer.assign([TopicPartition(*partition_id) for partition_id in offsets])
        for partition_id, offset in offsets.items():
            self._consumer.seek(TopicPartition(*partition_id), offset)

    async def seek_to_time(self, unix_s: float) -> dict[PartitionId, int]:
        ends = await self.ends()
        with translated():
            async with asyncio.timeout(self._limit_s):
                found = await self._consumer.offsets_for_times(dict.fromkeys(self._partitions, int(unix_s * 1000)))
        starts = {partition_id: found[partition_id] for partition_id in partition_ids_of(self._partitions)}
        offsets = {each: ends[each] if start is None else start.offset for each, start in starts.items()}
        await self.seek(offsets)
        return offsets

    async def take(self, limit: int, timeout_s: float) -> tuple[Record, ...]:
        return records_of(await take(self._consumer, limit, timeout_s))

    async def close(self) -> None:
        with translated():
            await stop(self._consumer)
