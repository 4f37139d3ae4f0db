"""Consumer groups of the broker within this process: eager rebalances, as aiokafka's members do them."""

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
    """Who is in the group, and what the group has committed."""

    def __init__(self) -> None:
        self.generation = 0
        self.committed: dict[PartitionId, int] = {}
        self._members: list[MemoryMember] = []
        self._changing = asyncio.Lock()

    async def join(self, member: MemoryMember) -> None:
        async with self._changing:
            await self._revoke()
            self._members.append(member)
            await self._assign()

    async def leave(self, member: MemoryMember) -> None:
        """The others are told; `member` is not. Idempotent."""
        async with self._changing:
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
        """Round robin over all partitions, in order."""
        places = sorted({place for member in self._members for place in member.wanted})
        shares: dict[MemoryMember, list[PartitionId]] = {member: [] for member in self._members}
        for turn, place in enumerate(places):
            takers = [member for member in self._members if place in member.wanted]
            shares[takers[turn % len(takers)]].append(place)
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
            raise GenerationLost(f"taken in generation {generation}, now it is {self._group.generation}")
        if foreign := [place for place in offsets if place not in self._positions.next]:
            raise GenerationLost(f"not assigned: {foreign}")
        self._group.committed.update(offsets)

    async def pause(self, places: Collection[PartitionId], paused: bool) -> None:
        ours = {place for place in places if place in self._positions.next}
        self._positions.paused = self._positions.paused | ours if paused else self._positions.paused - ours
        self._log.tell()

    async def rewind(self, offsets: Mapping[PartitionId, int]) -> None:
        self._positions.next |= {place: at for place, at in offsets.items() if place in self._positions.next}

    async def lag(self) -> dict[PartitionId, int]:
        self._log.require_up()
        return {place: len(self._log.records(place)) - at for place, at in sorted(self._positions.next.items())}

    async def close(self) -> None:
        await self._group.leave(self)
        self._positions.next = {}

    async def crash(self) -> None:
        """As if the process was killed and its session ran out: what it held is forgotten, the others take over."""
        self._positions.next = {}
        await self._group.leave(self)

    # From here on: for the group.

    async def lose(self) -> None:
        """Told while it still holds them, so that it can commit once more; takes nothing from here to `gain`."""
        self._positions.is_open = False
        if self._positions.next:
            await self._listener.revoked(tuple(sorted(self._positions.next)))
        self._positions.next, self._positions.paused = {}, set()

    async def gain(self, places: Collection[PartitionId]) -> None:
        """Read on where the group committed; from the beginning where it never did. A rebalance resumes all."""
        self._positions.next = {place: self._group.committed.get(place, 0) for place in places}
        await self._listener.assigned(tuple(places))
        self._positions.is_open = True
        self._log.tell()
