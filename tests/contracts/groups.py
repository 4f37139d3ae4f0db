"""A recording rebalance listener, and helpers that wait for group members."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from consumers.broker import Member, PartitionId, Record

PATIENCE_S = 40


class RecordingListener:
    """Records rebalance callbacks: `partition_ids` is the assignment, `history` all calls in order."""

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
    """Takes `count` records."""
    records: list[Record] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(records) < count:
            records += (await member.take(count - len(records), 0.5)).records
    return records


async def settled(*members: tuple[Member, RecordingListener], partition_ids: int) -> None:
    """Polls the members until each has a share of the `partition_ids` partitions."""

    def is_settled() -> bool:
        shares = [listener.partition_ids for _, listener in members]
        return sum(map(len, shares)) == partition_ids == len(set().union(*shares)) and all(shares)

    async with asyncio.timeout(PATIENCE_S):
        while not is_settled():
            await asyncio.gather(*(_poll(member) for member, _ in members))


async def _poll(member: Member) -> None:
    batch = await member.take(1, 0.1)
    assert not batch.records, "settle groups before anything is written"
