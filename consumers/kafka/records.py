"""What aiokafka hands out, as our records."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from consumers.broker import PartitionId, Record
from consumers.kafka.aiokafka_patches import UnreadableBatch
from consumers.kafka.errors import translated

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from aiokafka import TopicPartition

_PATIENCE_S = 0.5


async def take(consumer: Any, limit: int, timeout_s: float) -> Mapping[TopicPartition, Sequence[Any]]:
    """`getmany` that also ends while nothing is assigned, when aiokafka waits for ever. Cancelling it loses nothing."""
    fetched: Mapping[TopicPartition, Sequence[Any]] = {}
    with translated():
        try:
            async with asyncio.timeout(timeout_s + _PATIENCE_S):
                fetched = await consumer.getmany(timeout_ms=int(timeout_s * 1000), max_records=limit)
        except TimeoutError:
            pass
    return fetched


def records_of(fetched: Mapping[TopicPartition, Sequence[Any]]) -> tuple[Record, ...]:
    """In order of offset per partition."""
    return tuple(
        Record(
            PartitionId(place.topic, place.partition), found.offset, found.timestamp, found.key, found.value,
            tuple(found.headers), found.unreadable if isinstance(found, UnreadableBatch) else None,
        )
        for place, records in fetched.items()
        for found in records
    )


def places_of(partitions: Collection[TopicPartition]) -> tuple[PartitionId, ...]:
    return tuple(sorted(PartitionId(p.topic, p.partition) for p in partitions))
