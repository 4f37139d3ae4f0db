"""In-memory broker for tests: implements `consumers.broker` in one process. Nothing is ever deleted."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from typing import TYPE_CHECKING

from tests.memory_broker.groups import MemoryGroup, MemoryMember
from tests.memory_broker.log import MemoryLog, Positions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from consumers.broker import Listener, Message, PartitionId, Record


class MemoryWriter:
    """A `consumers.broker.Writer`."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log

    async def write(self, message: Message) -> int:
        await asyncio.sleep(0)
        if message.key is None and message.value is None:       # `MemoryLog.append` does allow it
            raise ValueError("a record needs a key or a value")
        return self._log.append(message)

    async def close(self) -> None:
        await asyncio.sleep(0)


class MemoryReader:
    """A `consumers.broker.Reader`."""

    def __init__(self, log: MemoryLog, partition_ids: tuple[PartitionId, ...]) -> None:
        self._log = log
        self._partition_ids = partition_ids
        self._positions = Positions(log)

    async def ends(self) -> dict[PartitionId, int]:
        self._log.require_up()
        return {partition_id: len(self._log.records(partition_id)) for partition_id in self._partition_ids}

    async def seek(self, offsets: Mapping[PartitionId, int]) -> None:
        self._positions.next = dict(offsets)

    async def seek_to_time(self, unix_s: float) -> dict[PartitionId, int]:
        self._log.require_up()
        starts = {partition_id: self._first_at(partition_id, unix_s * 1000) for partition_id in self._partition_ids}
        await self.seek(starts)
        return starts

    async def take(self, limit: int, timeout_s: float) -> tuple[Record, ...]:
        return await self._positions.take(limit, timeout_s)

    async def close(self) -> None:
        await asyncio.sleep(0)

    def _first_at(self, partition_id: PartitionId, unix_ms: float) -> int:
        records = self._log.records(partition_id)
        return next((r.offset for r in records if r.timestamp_ms >= unix_ms), len(records))


class MemoryBroker:
    """A `consumers.broker.Broker`."""

    def __init__(
        self, topics: Mapping[str, int], record_bytes: int = 8 * 2**20, now_s: Callable[[], float] = time.time
    ) -> None:
        self.log = MemoryLog(topics, record_bytes, now_s)
        self._groups: defaultdict[str, MemoryGroup] = defaultdict(MemoryGroup)

    def committed(self, group: str) -> dict[PartitionId, int]:
        """Returns the committed offsets of a group."""
        return dict(self._groups[group].committed)

    async def writer(self) -> MemoryWriter:
        self.log.require_up()
        return MemoryWriter(self.log)

    async def member(self, group: str, topics: Sequence[str], listener: Listener) -> MemoryMember:
        self.log.require_up()
        member = MemoryMember(self.log, self._groups[group], self.log.partition_ids(topics), listener)
        await member.join()
        return member

    async def reader(self, topics: Sequence[str]) -> MemoryReader:
        self.log.require_up()
        return MemoryReader(self.log, self.log.partition_ids(topics))
