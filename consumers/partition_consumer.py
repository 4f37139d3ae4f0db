"""One partition of the media topic while it is ours: its records to their streams, and how far it is through."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from typing import TYPE_CHECKING

from consumers.dead_letters import Cause
from consumers.errors import ContractBroken, ReferenceUnavailable
from consumers.media_contract import ClaimCheck, Media, parse
from consumers.offset_tracker import committable
from consumers.stream_consumer import Arrival, StreamConsumer
from consumers.verdict_records import tombstone
from stream.retry_policy import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from consumers.broker import PartitionId, Record
    from consumers.consumer_context import ConsumerContext
    from consumers.state_topic import States
    from consumers.verdict_records import State

_PAST_KEPT = 10_000
_FETCH_POLICY = RetryPolicy.exponential(0.5, 60.0)


class PartitionConsumer:
    """`states` is where others left the streams of this partition; nothing is routed before it is known."""

    def __init__(self, place: PartitionId, desk: ConsumerContext, states: asyncio.Task[States]) -> None:
        self._place = place
        self._desk = desk
        self._restoring = states
        self._states: dict[str, State] = {}
        self._past: OrderedDict[str, State] = OrderedDict()     # of streams that ended here
        self._backlog: deque[Record] = deque()
        self._backlog_bytes = 0
        self._runs: dict[str, StreamConsumer] = {}
        self._ended: dict[str, int] = {}        # streams to be forgotten, once this offset is committed past
        self._next_offset: int | None = None
        self._committed = 0
        self._read_s = 0.0
        self._wake = asyncio.Event()

    @property
    def held_records(self) -> int:
        """Those that wait here or for room in a worker's hands."""
        return len(self._backlog) + sum(run.held_records for run in self._runs.values())

    @property
    def is_full(self) -> bool:
        """Whether reading should rest."""
        config = self._desk.config
        held_bytes = self._backlog_bytes + sum(run.held_bytes for run in self._runs.values())
        return self.held_records >= config.held_records or held_bytes >= config.held_bytes

    @property
    def committable(self) -> int | None:
        """Returns the offset at which a successor would restart; None before the first record."""
        if self._next_offset is None:
            return None
        return committable(self._next_offset, (run.hold for run in self._runs.values()))

    def put(self, records: Iterable[Record]) -> None:
        """Takes records in order of offset; never blocks."""
        for record in records:
            self._backlog.append(record)
            self._backlog_bytes += len(record.value or b"")
        if self._next_offset is None and self._backlog:
            self._next_offset = self._backlog[0].offset
        self._wake.set()

    def read_for(self, seconds: float) -> None:
        """This partition was read for so long: streams of which nothing came in `idle_s` of such time are over.

        Time in which reading rested says nothing of the producers.
        """
        self._read_s += seconds
        for run in self._runs.values():
            if self._read_s - run.heard_s > self._desk.config.idle_s:
                run.time_out()

    def committed(self, offset: int) -> None:
        """Forgets ended streams before `offset`, which is committed and never read again."""
        self._committed = offset
        if self._ended:
            self._wake.set()

    async def run(self) -> None:
        """Until it is cancelled; lets go of all streams then."""
        try:
            self._states.update((await asyncio.shield(self._restoring))[self._place.partition])
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
            for run in self._runs.values():
                run.abandon()

    async def _route(self, tasks: asyncio.TaskGroup, record: Record) -> None:
        if record.unreadable is not None:
            await self._desk.refuse(record, Cause("read", "unreadable_batch", record.unreadable.problem))
            return
        try:
            item = parse(record.key, record.value, record.headers)
        except ContractBroken as broken:
            await self._desk.refuse(record, Cause("contract", broken.code, broken.message))
            return
        if isinstance(item, ClaimCheck):
            found = await self._redeem(item)
            if isinstance(found, Cause):
                await self._desk.refuse(record, found)
                return
            item = found
        run = self._runs.get(item.stamp.stream) or self._begin(tasks, item.stamp.stream)
        run.heard_s = self._read_s
        run.put(Arrival(record, item))

    async def _redeem(self, claim: ClaimCheck) -> Media | Cause:
        """Returns the media of a claim check, or why it is given up. Its partition waits meanwhile."""
        retrying = _FETCH_POLICY.retrying(ReferenceUnavailable, within_s=self._desk.config.transient_s)
        try:
            return await retrying(self._desk.claims.redeem, claim)
        except ContractBroken as broken:
            return Cause("fetch", broken.code, broken.message, retrying.statistics["attempt_number"])
        except ReferenceUnavailable as error:
            return Cause("fetch", "unavailable", str(error), retrying.statistics["attempt_number"])

    def _begin(self, tasks: asyncio.TaskGroup, stream: str) -> StreamConsumer:
        state = self._past.pop(stream, None) or self._states.pop(stream, None)
        self._runs[stream] = run = StreamConsumer(self._place, stream, self._desk, state)
        self._ended.pop(stream, None)
        tasks.create_task(self._keep(run), name=f"stream {stream}")
        return run

    async def _keep(self, run: StreamConsumer) -> None:
        """Runs one stream; remembers for a while where it ended."""
        await run.run()
        del self._runs[run.stream]
        self._ended[run.stream] = run.newest_offset
        if run.state is not None:
            self._past[run.stream] = run.state
            while len(self._past) > _PAST_KEPT:
                self._past.popitem(last=False)

    async def _forget_ended(self) -> None:
        """Deletes the states of streams whose records are never read again."""
        for stream in [stream for stream, offset in self._ended.items() if offset < self._committed]:
            await self._desk.out.write(tombstone(self._desk.config.topics.states, self._place.partition, stream))
            del self._ended[stream]
