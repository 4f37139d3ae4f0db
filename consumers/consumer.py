"""Media from a broker, verdicts to it: a member of a group, which gives its partitions to `PartitionConsumer`s.

Offsets are committed up to the published windows, so that a successor restarts where this consumer would.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

import structlog

from consumers.claim_check import ClaimFetcher
from consumers.consumer_context import ConsumerContext, NoAlarmKeeper
from consumers.consumer_health import ConsumerStatus, LagWatch, PartitionStatus, check_topics
from consumers.errors import BrokerUnreachable, ConsumerError, GenerationLost, TopicMissing
from consumers.partition_consumer import PartitionConsumer
from consumers.retrying_writer import RetryingWriter
from consumers.state_topic import load_states
from stream.retry_policy import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from consumers.broker import Batch, Broker, Member, PartitionId
    from consumers.config import ConsumeConfig
    from consumers.consumer_context import AlarmKeeper
    from consumers.state_topic import States
    from stream.protocols import Workers

log = structlog.get_logger(__name__)

_TAKE_S = 0.2
_RETRY_POLICY = RetryPolicy((1.0,))
_STUCK_S = 30.0
_LOOKS = 10
_Client = TypeVar("_Client")


class Consumer:
    """One process's share of the media topic. `run` is called once."""

    def __init__(
        self, broker: Broker, pool: Workers, config: ConsumeConfig, alarms: AlarmKeeper | None = None
    ) -> None:
        self._broker = broker
        self._pool = pool
        self._config = config
        self._alarms = alarms or NoAlarmKeeper()
        self._parts: dict[PartitionId, tuple[PartitionConsumer, asyncio.Task[None]]] = {}
        self._committed: dict[PartitionId, int] = {}
        self._committed_s = 0.0
        self._restoring: asyncio.Task[States] | None = None
        self._paused: set[PartitionId] = set()
        self._generation = -1
        self._is_leaving = self._is_unreachable = False
        self._taken_s = time.monotonic()
        self._lag_watch = LagWatch()
        self._desk: ConsumerContext | None = None
        self._member: Member | None = None
        self._tasks = asyncio.TaskGroup()

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set, or something fails that waiting does not mend. What is out then is committed.

        Raises TopicMissing if a topic is not there at the start, and BrokerRefused. A broker that does not answer is
        waited for.
        """
        await self._patiently(self._check, stop)
        writer = await self._patiently(self._broker.writer, stop)
        if writer is None:
            return
        claims = ClaimFetcher(self._config.claims)
        out = RetryingWriter(writer, self._config.longest_backoff_s, topics_exist=True)
        self._desk = ConsumerContext(self._config, self._pool, out, claims, self._alarms)
        try:
            async with self._tasks:
                self._member = await self._patiently(self._join, stop)
                if self._member is None:
                    return
                watch = self._tasks.create_task(self._lag_watch.run(self._member, self._end_idle_streams))
                try:
                    await self._consume(self._member, stop)
                    await self._commit()
                finally:
                    self._is_leaving = True
                    watch.cancel()
                    await self._let_go()
                    await self._member.close()
        except BaseExceptionGroup as group:
            raise _cause_of(group) from group
        finally:
            await claims.close()
            await writer.close()

    async def _check(self) -> None:
        """A broker that just started knows no topics yet, so one that is missing is looked for again."""
        for _ in range(_LOOKS):
            try:
                return await check_topics(self._broker, self._config.topics)
            except TopicMissing as error:
                log.warning("topic missing", error=str(error))
                await asyncio.sleep(_RETRY_POLICY.delay_s())
        return await check_topics(self._broker, self._config.topics)

    async def _join(self) -> Member:
        return await self._broker.member(self._config.group, [self._config.topics.media], self)

    async def _patiently(self, connect: Callable[[], Awaitable[_Client]], stop: asyncio.Event) -> _Client | None:
        """What `connect` gives once the broker answers; None if we are to stop before."""
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
        """Returns the status, for readiness and metrics."""
        desk, lags = self._desk, self._lag_watch.lags
        reasons = []
        if self._is_unreachable or self._lag_watch.is_unreachable or (desk is not None and desk.out.unreachable_s):
            reasons.append("broker_unreachable")
        elif self._member is None:
            reasons.append("joining")
        elif time.monotonic() - self._taken_s > _STUCK_S:
            reasons.append("stuck")
        partitions = tuple(
            PartitionStatus(place.partition, lags.get(place), part.held_records, self._committed.get(place))
            for place, (part, _) in sorted(self._parts.items())
        )
        return ConsumerStatus(
            tuple(reasons), partitions, desk.dead if desk is not None else 0, desk.limit.left_out if desk else 0
        )

    # What the member is told.

    async def revoked(self, places: Collection[PartitionId]) -> None:
        await self._commit()
        await self._let_go()

    async def assigned(self, places: Collection[PartitionId]) -> None:
        await self._let_go()
        if self._is_leaving or self._desk is None:
            return
        log.info("partitions assigned", partitions=sorted(place.partition for place in places))
        self._begin(self._desk, places)

    def _begin(self, desk: ConsumerContext, places: Collection[PartitionId]) -> None:
        partitions = [place.partition for place in places]
        self._restoring = self._tasks.create_task(load_states(self._broker, self._config.topics.states, partitions))
        for place in places:
            part = PartitionConsumer(place, desk, self._restoring)
            task = self._tasks.create_task(part.run(), name=f"partition {place.partition}")
            self._parts[place] = part, task

    async def _consume(self, member: Member, stop: asyncio.Event) -> None:
        self._taken_s = time.monotonic()
        while not stop.is_set():
            try:
                await self._set_paused(member)
                self._hand_out(await member.take(self._config.batch, _TAKE_S))
                self._taken_s = time.monotonic()
                await self._make_good(member)
                if time.monotonic() - self._committed_s >= self._config.commit_every_s:
                    await self._commit()
            except (BrokerUnreachable, TopicMissing) as error:
                log.warning("broker unreachable", error=str(error))
                await _pause(stop)

    async def _make_good(self, member: Member) -> None:
        """Reads again what a worker took with it, as if all partitions had just come to us."""
        desk = self._desk
        if desk is None or not desk.worker_lost.is_set():
            return
        desk.worker_lost.clear()
        parts = dict(self._parts)
        starts = {place: part.committable for place, (part, _) in parts.items()}
        await self._let_go()
        if not self._parts:     # or else they were assigned anew just now
            await member.rewind({place: offset for place, offset in starts.items() if offset is not None})
            await member.pause(parts.keys(), False)
            self._begin(desk, parts.keys())

    def _end_idle_streams(self, read_s: float) -> None:
        """Counts time with the broker reachable: silence of streams is judged only then."""
        for place, (part, _) in self._parts.items():
            if place not in self._paused:
                part.read_for(read_s)

    def _hand_out(self, batch: Batch) -> None:
        self._generation = batch.generation
        for record in batch.records:
            if record.place in self._parts:
                self._parts[record.place][0].put([record])

    async def _set_paused(self, member: Member) -> None:
        full = {place for place, (part, _) in self._parts.items() if part.is_full}
        rested = {place for place in self._paused - full if place in self._parts}
        if full - self._paused:
            await member.pause(full, True)
        if rested:
            await member.pause(rested, False)
        self._paused = full

    async def _commit(self) -> None:
        """Commits what has moved since the last time. A generation that is lost has nothing to commit."""
        self._committed_s = time.monotonic()
        offsets = {place: part.committable for place, (part, _) in self._parts.items()}
        moved = {p: offset for p, offset in offsets.items() if offset is not None and offset != self._committed.get(p)}
        if not moved or self._member is None:
            return
        try:
            await self._member.commit(moved, self._generation)
        except (GenerationLost, BrokerUnreachable, TopicMissing) as error:
            log.warning("offsets not committed", error=str(error))
            return
        for place, offset in moved.items():
            self._committed[place] = offset
            if place in self._parts:
                self._parts[place][0].committed(offset)

    async def _let_go(self) -> None:
        """Drops all partitions; their next consumers read the media in flight again."""
        tasks: list[asyncio.Task[None] | asyncio.Task[States]] = [task for _, task in self._parts.values()]
        if self._restoring is not None:
            tasks.append(self._restoring)
        self._parts.clear()
        self._paused.clear()
        self._committed.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _cause_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What we have words for, if that is why the tasks failed."""
    found: BaseException = group.subgroup(ConsumerError) or group
    while isinstance(found, BaseExceptionGroup) and found is not group:
        found = found.exceptions[0]
    return found


async def _pause(stop: asyncio.Event) -> None:
    """A moment, or until we are to stop."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_RETRY_POLICY.delay_s()):
            await stop.wait()
