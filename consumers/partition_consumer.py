"""Partition consumer: routes the records of one assigned partition to their streams; tracks the committable offset."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from typing import TYPE_CHECKING

from consumers.dead_letters import Cause
from consumers.errors import ContractBroken, ReferenceUnavailable
from consumers.media_contract import ClaimCheck, Media, parse
from consumers.offset_tracker import committable
from consumers.stream_consumer import ParsedRecord, StreamConsumer
from consumers.verdict_records import tombstone
from stream.retry_policy import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from consumers.broker import PartitionId, Record
    from consumers.consumer_context import ConsumerContext
    from consumers.state_topic import States
    from consumers.verdict_records import State

_MAX_ENDED_STATES = 10_000
_FETCH_POLICY = RetryPolicy.exponential(0.5, 60.0)


class PartitionConsumer:
    """Consumes one partition. `states` loads the last published state of each stream; routing waits for it."""

    def __init__(self, partition_id: PartitionId, context: ConsumerContext, states: asyncio.Task[States]) -> None:
        self._partition_id = partition_id
        self._context = context
        self._loading_states = states
        self._states: dict[str, State] = {}
        self._ended_states: OrderedDict[str, State] = OrderedDict()
        self._backlog: deque[Record] = deque()
        self._backlog_bytes = 0
        self._streams: dict[str, StreamConsumer] = {}
        self._ended: dict[str, int] = {}        # last offset of each ended stream; its tombstone waits for the commit
        self._next_offset: int | None = None
        self._committed = 0
        self._read_s = 0.0
        self._wake = asyncio.Event()

    @property
    def buffered_records(self) -> int:
        """Number of records that wait here or for room in a worker's queue."""
        return len(self._backlog) + sum(each.buffered_records for each in self._streams.values())

    @property
    def is_full(self) -> bool:
        """Whether to pause reading of this partition."""
        config = self._context.config
        buffered_bytes = self._backlog_bytes + sum(each.buffered_bytes for each in self._streams.values())
        return self.buffered_records >= config.buffered_records or buffered_bytes >= config.buffered_bytes

    @property
    def committable(self) -> int | None:
        """The offset at which another consumer would have to start; None before the first record."""
        if self._next_offset is None:
            return None
        return committable(self._next_offset, (each.oldest_needed_offset for each in self._streams.values()))

    def put(self, records: Iterable[Record]) -> None:
        """Queues records, in order of offset. Never blocks."""
        for record in records:
            self._backlog.append(record)
            self._backlog_bytes += len(record.value or b"")
        if self._next_offset is None and self._backlog:
            self._next_offset = self._backlog[0].offset
        self._wake.set()

    def add_read_time(self, seconds: float) -> None:
        """Adds reading time and ends streams that got no record in `idle_s` seconds of it.

        Only reading time counts: during a pause no records arrive, even from active producers.
        """
        self._read_s += seconds
        for stream_consumer in self._streams.values():
            if self._read_s - stream_consumer.last_record_s > self._context.config.idle_s:
                stream_consumer.time_out()

    def on_committed(self, offset: int) -> None:
        """Notes that records before `offset` are not read again, so that their ended streams can be forgotten."""
        self._committed = offset
        if self._ended:
            self._wake.set()

    async def run(self) -> None:
        """Routes records until it is cancelled, then abandons all streams."""
        try:
            self._states.update((await asyncio.shield(self._loading_states))[self._partition_id.partition])
            async with asyncio.TaskGroup() as tasks:
                while True:
                    self._wake.clear()
                    while self._backlog:
                        await self._route(tasks, self._backlog[0])
                        self._next_offset = self._backlog[0].next_offset
                        self._backlog_bytes -= len(self._backlog.popleft().value or b"")
                    await self._forget_ended()
                    await self._wake.wait()
        finally:
            for stream_consumer in self._streams.values():
                stream_consumer.abandon()

    async def _route(self, tasks: asyncio.TaskGroup, record: Record) -> None:
        if record.unreadable is not None:
            await self._context.reject(record, Cause("read", "unreadable_batch", record.unreadable.problem))
            return
        try:
            item = parse(record.key, record.value, record.headers)
        except ContractBroken as broken:
            await self._context.reject(record, Cause("contract", broken.code, broken.message))
            return
        if isinstance(item, ClaimCheck):
            found = await self._redeem(item)
            if isinstance(found, Cause):
                await self._context.reject(record, found)
                return
            item = found
        stream_consumer = self._streams.get(item.identity.stream) or self._start_stream(tasks, item.identity.stream)
        stream_consumer.last_record_s = self._read_s
        stream_consumer.put(ParsedRecord(record, item))

    async def _redeem(self, claim: ClaimCheck) -> Media | Cause:
        """Fetches the payload of a claim check, or returns the cause of failure. The partition waits meanwhile."""
        retrying = _FETCH_POLICY.retrying(ReferenceUnavailable, within_s=self._context.config.transient_s)
        try:
            return await retrying(self._context.claim_fetcher.redeem, claim)
        except ContractBroken as broken:
            return Cause("fetch", broken.code, broken.message, retrying.statistics["attempt_number"])
        except ReferenceUnavailable as error:
            return Cause("fetch", "unavailable", str(error), retrying.statistics["attempt_number"])

    def _start_stream(self, tasks: asyncio.TaskGroup, stream: str) -> StreamConsumer:
        state = self._ended_states.pop(stream, None) or self._states.pop(stream, None)
        self._streams[stream] = stream_consumer = StreamConsumer(self._partition_id, stream, self._context, state)
        self._ended.pop(stream, None)
        tasks.create_task(self._run_stream(stream_consumer), name=f"stream {stream}")
        return stream_consumer

    async def _run_stream(self, stream_consumer: StreamConsumer) -> None:
        """Runs one stream and keeps its last state for a while, in case the stream comes back."""
        await stream_consumer.run()
        del self._streams[stream_consumer.stream]
        self._ended[stream_consumer.stream] = stream_consumer.newest_offset
        if stream_consumer.state is not None:
            self._ended_states[stream_consumer.stream] = stream_consumer.state
            while len(self._ended_states) > _MAX_ENDED_STATES:
                self._ended_states.popitem(last=False)

    async def _forget_ended(self) -> None:
        """Writes tombstones for ended streams whose records are all committed."""
        for stream in [stream for stream, offset in self._ended.items() if offset < self._committed]:
            topic = self._context.config.topics.states
            await self._context.writer.write(tombstone(topic, self._partition_id.partition, stream))
            del self._ended[stream]
