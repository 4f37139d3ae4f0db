"""Consumer groups of the in-memory broker, with eager rebalances as in aiokafka."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from consumers.broker import Batch, PartitionId
from consumers.errors import GenerationLost
from tests.memory_broker.log import Positions

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from consumers.broker import Listener
    from tests.memory_broker.log import MemoryLog


class MemoryGroup:
    """Members and committed offsets of one consumer group."""

    def __init__(self) -> None:
        self.generation = 0
        self.committed: dict[PartitionId, int] = {}
        self._members: list[MemoryMember] = []
        self._rebalancing = asyncio.Lock()

    async def join(self, member: MemoryMember) -> None:
        async with self._rebalancing:
            await self._revoke()
            self._members.append(member)
            await self._assign()

    async def leave(self, member: MemoryMember) -> None:
        """Removes a member and rebalances the others. Idempotent."""
        async with self._rebalancing:
            if member in self._members:
                self._members.remove(member)
                await self._revoke()
                await self._assign()

    def has(self, member: MemoryMember) -> bool:
        return member in self._members

    async def _revoke(self) -> None:
        for member in self._members:
            await member.lose()
        self.generation += 1

    async def _assign(self) -> None:
        """Assigns all partitions round robin, in order."""
        partition_ids = sorted({partition_id for member in self._members for partition_id in member.wanted})
        shares: dict[MemoryMember, list[PartitionId]] = {member: [] for member in self._members}
        for index, partition_id in enumerate(partition_ids):
            subscribers = [member for member in self._members if partition_id in member.wanted]
            shares[subscribers[index % len(subscribers)]].append(partition_id)
        for member, share in shares.items():
            await member.gain(share)


class MemoryMember:
    """A `consumers.broker.Member`."""

    def __init__(self, log: MemoryLog, group: MemoryGroup, wanted: tuple[PartitionId, ...], listener: Listener) -> None:
        self.wanted = frozenset(wanted)
        self._log = log
        self._group = group
        self._listener = listener
        self._positions = Positions(log)

    async def join(self) -> None:
        await self._group.join(self)

    async def take(self, limit: int, timeout_s: float) -> Batch:
        records = await self._positions.take(limit, timeout_s)
        return Batch(self._group.generation, records)

    async def commit(self, offsets: Mapping[PartitionId, int], generation: int) -> None:
        self._log.require_up()
        if generation != self._group.generation or not self._group.has(self):
            raise GenerationLost(f"records of generation {generation}, the group is in {self._group.generation}")
        if foreign := [partition_id for partition_id in offsets if partition_id not in self._positions.next]:
            raise GenerationLost(f"not assigned: {foreign}")
        self._group.committed.update(offsets)

    async def pause(self, partition_ids: Collection[PartitionId], paused: bool) -> None:
        assigned = {partition_id for partition_id in partition_ids if partition_id in self._positions.next}
        self._positions.paused = self._positions.paused | assigned if paused else self._positions.paused - assigned
        self._log.notify()

    async def rewind(self, offsets: Mapping[PartitionId, int]) -> None:
        assigned = self._positions.next
        self._positions.next |= {each: offset for each, offset in offsets.items() if each in assigned}

    async def lag(self) -> dict[PartitionId, int]:
        self._log.require_up()
        return {each: len(self._log.records(each)) - offset for each, offset in sorted(self._positions.next.items())}

    async def close(self) -> None:
        await self._group.leave(self)
        self._positions.next = {}

    async def crash(self) -> None:
        """Simulates a killed process whose session timed out: the other members take over."""
        self._positions.next = {}
        await self._group.leave(self)

    # Called by the group.

    async def lose(self) -> None:
        """Revokes all partitions. The listener may still commit; `take` returns nothing until `gain`."""
        self._positions.is_open = False
        if self._positions.next:
            await self._listener.revoked(tuple(sorted(self._positions.next)))
        self._positions.next, self._positions.paused = {}, set()

    async def gain(self, partition_ids: Collection[PartitionId]) -> None:
        """Assigns partitions, at their committed offsets or 0, all resumed."""
        self._positions.next = {each: self._group.committed.get(each, 0) for each in partition_ids}
        await self._listener.assigned(tuple(partition_ids))
        self._positions.is_open = True
        self._log.notify()
