"""Kafka consumer-group member. Commits are manual and only valid in the generation in which the records were taken."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor

from consumers.broker import Batch
from consumers.errors import GenerationLost
from consumers.kafka.connection import connection_options, fetch_options
from consumers.kafka.errors import translated
from consumers.kafka.records import partition_ids_of, records_of, take
from consumers.kafka.shutdown import stop

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from consumers.broker import Listener, PartitionId
    from consumers.kafka.config import KafkaConfig

_HEARTBEATS_PER_SESSION = 6


class KafkaMember:
    """A `consumers.broker.Member`. After `connect` returns, partitions are assigned in the background."""

    def __init__(self, consumer: Any, relay: _Relay, config: KafkaConfig) -> None:
        self._consumer = consumer
        self._relay = relay
        self._config = config

    @classmethod
    async def connect(
        cls, config: KafkaConfig, group: str, topics: Sequence[str], listener: Listener
    ) -> KafkaMember:
        relay = _Relay(listener)
        consumer = AIOKafkaConsumer(
            **connection_options(config), **fetch_options(config), **_group_options(config), group_id=group
        )
        try:
            with translated():
                await consumer.start()
                consumer.subscribe(topics=list(topics), listener=relay)
        except BaseException:
            await stop(consumer)
            raise
        return cls(consumer, relay, config)

    async def take(self, limit: int, timeout_s: float) -> Batch:
        fetched = await take(self._consumer, limit, timeout_s)
        generation = self._relay.generation
        if fetched:     # may arrive before the listener knows the assignment
            await self._relay.is_settled.wait()
        is_stale = generation != self._relay.generation
        return Batch(self._relay.generation, () if is_stale else records_of(fetched))

    async def commit(self, offsets: Mapping[PartitionId, int], generation: int) -> None:
        if generation != self._relay.generation:
            raise GenerationLost(f"records of generation {generation}, the group is in {self._relay.generation}")
        with translated():
            async with asyncio.timeout(self._config.request_timeout_s):     # aiokafka retries forever
                await self._consumer.commit({TopicPartition(*each): offset for each, offset in offsets.items()})

    async def pause(self, partition_ids: Collection[PartitionId], paused: bool) -> None:
        assigned = self._consumer.assignment() & {TopicPartition(*partition_id) for partition_id in partition_ids}
        (self._consumer.pause if paused else self._consumer.resume)(*assigned)

    async def rewind(self, offsets: Mapping[PartitionId, int]) -> None:
        assigned = self._consumer.assignment()
        for partition_id, offset in offsets.items():
            if TopicPartition(*partition_id) in assigned:
                self._consumer.seek(TopicPartition(*partition_id), offset)

    async def lag(self) -> dict[PartitionId, int]:
        with translated():
            async with asyncio.timeout(self._config.request_timeout_s):
                assigned = self._consumer.assignment()
                ends = await self._consumer.end_offsets(assigned) if assigned else {}
                return {each: ends[each] - await self._consumer.position(each) for each in partition_ids_of(assigned)}

    async def close(self) -> None:
        with translated():
            await stop(self._consumer)


class _Relay(ConsumerRebalanceListener):  # type: ignore[misc]
    """Calls the listener and counts generations: one more after each revocation.

    Commits of the listener during `revoked` still belong to the old generation.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self.generation = 0
        self.is_settled = asyncio.Event()

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        self.is_settled.clear()
        if revoked:
            await self._listener.revoked(partition_ids_of(revoked))
        self.generation += 1

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        await self._listener.assigned(partition_ids_of(assigned))
        self.is_settled.set()


def _group_options(config: KafkaConfig) -> dict[str, Any]:
    session_ms = int(config.session_timeout_s * 1000)
    rebalance_ms = int(config.rebalance_timeout_s * 1000)
    return {
        "group_instance_id": config.instance or None,
        "partition_assignment_strategy": (RoundRobinPartitionAssignor,),
        "session_timeout_ms": session_ms,
        "heartbeat_interval_ms": session_ms // _HEARTBEATS_PER_SESSION,
        "rebalance_timeout_ms": rebalance_ms,
        # A join is answered after all members have joined: a shorter timeout would repeat joins forever.
        "request_timeout_ms": rebalance_ms + int(config.request_timeout_s * 1000),
    }
