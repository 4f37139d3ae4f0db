"""Media consumer: a group member that reads media and writes verdicts, with one `PartitionConsumer` per partition.

Commits only offsets before the oldest unpublished window, so that a successor can rebuild that window.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

import structlog

from consumers.claim_check import ClaimFetcher
from consumers.consumer_context import ConsumerContext, NoAlarmSink
from consumers.consumer_health import ConsumerStatus, LagMonitor, PartitionStatus, check_topics
from consumers.errors import BrokerUnreachable, ConsumerError, GenerationLost, TopicMissing
from consumers.partition_consumer import PartitionConsumer
from consumers.retrying_writer import RetryingWriter
from consumers.state_topic import load_states
from stream.retry_policy import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from consumers.broker import Batch, Broker, Member, PartitionId
    from consumers.config import ConsumerConfig
    from consumers.consumer_context import AlarmSink
    from consumers.state_topic import States
    from stream.protocols import Workers

log = structlog.get_logger(__name__)

_POLL_S = 0.2
_RETRY_POLICY = RetryPolicy((1.0,))
_STUCK_S = 30.0
_TOPIC_CHECKS = 10
_Client = TypeVar("_Client")


class Consumer:
    """Consumes one process's share of the media topic. Call `run` once."""

    def __init__(
        self, broker: Broker, pool: Workers, config: ConsumerConfig, alarms: AlarmSink | None = None
    ) -> None:
        self._broker = broker
        self._pool = pool
        self._config = config
        self._alarms = alarms or NoAlarmSink()
        self._partitions: dict[PartitionId, tuple[PartitionConsumer, asyncio.Task[None]]] = {}
        self._committed: dict[PartitionId, int] = {}
        self._committed_s = 0.0
        self._loading_states: asyncio.Task[States] | None = None
        self._paused: set[PartitionId] = set()
        self._generation = -1
        self._is_stopping = self._is_unreachable = False
        self._last_poll_s = time.monotonic()
        self._lag_monitor = LagMonitor()
        self._context: ConsumerContext | None = None
        self._member: Member | None = None
        self._tasks = asyncio.TaskGroup()

    async def run(self, stop: asyncio.Event) -> None:
        """Consumes until `stop` is set, then commits the offsets of published windows.

        Waits while the broker is unreachable. Raises BrokerRefused, and TopicMissing if a topic is missing at start.
        """
        await self._when_reachable(self._check, stop)
        writer = await self._when_reachable(self._broker.writer, stop)
        if writer is None:
            return
        claim_fetcher = ClaimFetcher(self._config.claims)
        retrying_writer = RetryingWriter(writer, self._config.longest_backoff_s, topics_exist=True)
        self._context = ConsumerContext(self._config, self._pool, retrying_writer, claim_fetcher, self._alarms)
        try:
            async with self._tasks:
                self._member = await self._when_reachable(self._join, stop)
                if self._member is None:
                    return
                monitor = self._tasks.create_task(self._lag_monitor.run(self._member, self._add_read_time))
                try:
                    await self._consume(self._member, stop)
                    await self._commit()
                finally:
                    self._is_stopping = True
                    monitor.cancel()
                    await self._release_partitions()
                    await self._member.close()
        except BaseExceptionGroup as group:
            raise _cause_of(group) from group
        finally:
            await claim_fetcher.close()
            await writer.close()

    async def _check(self) -> None:
        """Checks the topics, several times: a broker that just started reports its topics as missing."""
        for _ in range(_TOPIC_CHECKS):
            try:
                return await check_topics(self._broker, self._config.topics)
            except TopicMissing as error:
                log.warning("topic missing", error=str(error))
                await asyncio.sleep(_RETRY_POLICY.delay_s())
        return await check_topics(self._broker, self._config.topics)

    async def _join(self) -> Member:
        return await self._broker.member(self._config.group, [self._config.topics.media], self)

    async def _when_reachable(self, connect: Callable[[], Awaitable[_Client]], stop: asyncio.Event) -> _Client | None:
        """Retries `connect` until the broker answers and returns the client; None if `stop` is set first."""
        while not stop.is_set():
            try:
                client = await connect()
                self._is_unreachable = False
                return client
            except BrokerUnreachable as error:
                self._is_unreachable = True
                log.warning("broker unreachable", error=str(error))
                await _pause(stop)
        return None

    @property
    def status(self) -> ConsumerStatus:
        """Health for the readiness probe and for metrics."""
        context, lags = self._context, self._lag_monitor.lags
        reasons = []
        is_blocked = context is not None and context.writer.unreachable_s > 0
        if self._is_unreachable or self._lag_monitor.is_unreachable or is_blocked:
            reasons.append("broker_unreachable")
        elif self._member is None:
            reasons.append("joining")
        elif time.monotonic() - self._last_poll_s > _STUCK_S:
            reasons.append("stuck")
        partitions = tuple(
            PartitionStatus(
                partition_id.partition, lags.get(partition_id), consumer.buffered_records,
                self._committed.get(partition_id),
            )
            for partition_id, (consumer, _) in sorted(self._partitions.items())
        )
        return ConsumerStatus(
            tuple(reasons), partitions, context.dead_letters if context else 0,
            context.dead_letter_limit.discarded if context else 0,
        )

    # Listener of the group member.

    async def revoked(self, partition_ids: Collection[PartitionId]) -> None:
        await self._commit()
        await self._release_partitions()

    async def assigned(self, partition_ids: Collection[PartitionId]) -> None:
        await self._release_partitions()
        if self._is_stopping or self._context is None:
            return
        log.info("partitions assigned", partitions=sorted(partition_id.partition for partition_id in partition_ids))
        self._start_partitions(self._context, partition_ids)

    def _start_partitions(self, context: ConsumerContext, partition_ids: Collection[PartitionId]) -> None:
        numbers = [partition_id.partition for partition_id in partition_ids]
        self._loading_states = self._tasks.create_task(load_states(self._broker, self._config.topics.states, numbers))
        for partition_id in partition_ids:
            consumer = PartitionConsumer(partition_id, context, self._loading_states)
            task = self._tasks.create_task(consumer.run(), name=f"partition {partition_id.partition}")
            self._partitions[partition_id] = consumer, task

    async def _consume(self, member: Member, stop: asyncio.Event) -> None:
        self._last_poll_s = time.monotonic()
        while not stop.is_set():
            try:
                await self._set_paused(member)
                self._dispatch(await member.take(self._config.batch, _POLL_S))
                self._last_poll_s = time.monotonic()
                await self._restart_partitions(member)
                if time.monotonic() - self._committed_s >= self._config.commit_every_s:
                    await self._commit()
            except (BrokerUnreachable, TopicMissing) as error:
                log.warning("broker unreachable", error=str(error))
                await _pause(stop)

    async def _restart_partitions(self, member: Member) -> None:
        """Restarts all partitions at their committable offsets after a worker was lost with unprocessed media."""
        context = self._context
        if context is None or not context.worker_lost.is_set():
            return
        context.worker_lost.clear()
        before = dict(self._partitions)
        starts = {partition_id: consumer.committable for partition_id, (consumer, _) in before.items()}
        await self._release_partitions()
        if not self._partitions:     # otherwise a rebalance has just assigned partitions
            await member.rewind({partition_id: offset for partition_id, offset in starts.items() if offset is not None})
            await member.pause(before.keys(), False)
            self._start_partitions(context, before.keys())

    def _add_read_time(self, read_s: float) -> None:
        """Advances the idle clock of every partition that is not paused by `read_s` seconds.

        The caller does not count time in which the broker is unreachable.
        """
        for partition_id, (consumer, _) in self._partitions.items():
            if partition_id not in self._paused:
                consumer.add_read_time(read_s)

    def _dispatch(self, batch: Batch) -> None:
        self._generation = batch.generation
        for record in batch.records:
            if record.partition_id in self._partitions:
                self._partitions[record.partition_id][0].put([record])

    async def _set_paused(self, member: Member) -> None:
        full = {partition_id for partition_id, (consumer, _) in self._partitions.items() if consumer.is_full}
        resumable = {partition_id for partition_id in self._paused - full if partition_id in self._partitions}
        if full - self._paused:
            await member.pause(full, True)
        if resumable:
            await member.pause(resumable, False)
        self._paused = full

    async def _commit(self) -> None:
        """Commits the offsets that moved since the last commit. Skips it after a rebalance or while unreachable."""
        self._committed_s = time.monotonic()
        offsets = {partition_id: consumer.committable for partition_id, (consumer, _) in self._partitions.items()}
        moved = {p: offset for p, offset in offsets.items() if offset is not None and offset != self._committed.get(p)}
        if not moved or self._member is None:
            return
        try:
            await self._member.commit(moved, self._generation)
        except (GenerationLost, BrokerUnreachable, TopicMissing) as error:
            log.warning("offsets not committed", error=str(error))
            return
        for partition_id, offset in moved.items():
            self._committed[partition_id] = offset
            if partition_id in self._partitions:
                self._partitions[partition_id][0].on_committed(offset)

    async def _release_partitions(self) -> None:
        """Stops all partitions; their next consumer reads the unfinished records again."""
        tasks: list[asyncio.Task[None] | asyncio.Task[States]] = [task for _, task in self._partitions.values()]
        if self._loading_states is not None:
            tasks.append(self._loading_states)
        self._partitions.clear()
        self._paused.clear()
        self._committed.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _cause_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Returns the first ConsumerError in the group, or the group itself if it holds none."""
    found: BaseException = group.subgroup(ConsumerError) or group
    while isinstance(found, BaseExceptionGroup) and found is not group:
        found = found.exceptions[0]
    return found


async def _pause(stop: asyncio.Event) -> None:
    """Waits for the retry delay or until `stop` is set."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_RETRY_POLICY.delay_s()):
            await stop.wait()
