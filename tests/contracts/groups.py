"""A listener that remembers, and ways to wait for what a group does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from consumers.broker import Member, PartitionId, Record

PATIENCE_S = 40


class Told:
    """What a member was told: `partition_ids` are its own now, `history` every word in order."""

    def __init__(self) -> None:
        self.partition_ids: set[PartitionId] = set()
        self.history: list[tuple[str, frozenset[PartitionId]]] = []
        self.before_revoked: Callable[[], Awaitable[None]] | None = None

    async def revoked(self, partition_ids: Collection[PartitionId]) -> None:
        if self.before_revoked is not None:
            await self.before_revoked()
        self.history.append(("revoked", frozenset(partition_ids)))
        self.partition_ids.clear()

    async def assigned(self, partition_ids: Collection[PartitionId]) -> None:
        self.history.append(("assigned", frozenset(partition_ids)))
        self.partition_ids = set(partition_ids)


async def taken(member: Member, count: int) -> list[Record]:
    """The next `count` records."""
    records: list[Record] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(records) < count:
            records += (await member.take(count - len(records), 0.5)).records
    return records


async def settled(*members: tuple[Member, Told], partition_ids: int) -> None:
    """Until every member has its share of all `partition_ids`. They have to be asked all the time, as in service."""

    def is_settled() -> bool:
        shares = [told.partition_ids for _, told in members]
        return sum(map(len, shares)) == partition_ids == len(set().union(*shares)) and all(shares)

    async with asyncio.timeout(PATIENCE_S):
        while not is_settled():
            await asyncio.gather(*(_touch(member) for member, _ in members))


async def _touch(member: Member) -> None:
    batch = await member.take(1, 0.1)
    assert not batch.records, "settle groups before anything is written"
