"""Converts aiokafka's records and partitions to those of `consumers.broker`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from consumers.broker import PartitionId, Record
from consumers.kafka.aiokafka_patches import UnreadableBatch
from consumers.kafka.errors import translated

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from aiokafka import TopicPartition

_GRACE_S = 0.5


async def take(consumer: Any, limit: int, timeout_s: float) -> Mapping[TopicPartition, Sequence[Any]]:
    """Calls `getmany` with a timeout that also holds while no partition is assigned. Cancelling it loses no records."""
    fetched: Mapping[TopicPartition, Sequence[Any]] = {}
    with translated():
        try:
            async with asyncio.timeout(timeout_s + _GRACE_S):
                fetched = await consumer.getmany(timeout_ms=int(timeout_s * 1000), max_records=limit)
        except TimeoutError:
            pass
    return fetched


def records_of(fetched: Mapping[TopicPartition, Sequence[Any]]) -> tuple[Record, ...]:
    """Returns the records in order of offset per partition."""
    return tuple(
        Record(
            PartitionId(source.topic, source.partition), found.offset, found.timestamp, found.key, found.value,
            tuple(found.headers), found.unreadable if isinstance(found, UnreadableBatch) else None,
        )
        for source, records in fetched.items()
        for found in records
    )


def partition_ids_of(partitions: Collection[TopicPartition]) -> tuple[PartitionId, ...]:
    return tuple(sorted(PartitionId(p.topic, p.partition) for p in partitions))
