"""Records of the in-memory broker, and the read positions of its readers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiokafka.partitioner import DefaultPartitioner

from consumers.broker import PartitionId, Record
from consumers.errors import BrokerUnreachable, RecordTooLarge, TopicMissing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from consumers.broker import Message

_choose = DefaultPartitioner()


class MemoryLog:
    """Records per partition. `topics` maps names to numbers of partitions.

    While `is_up` is False the broker is unreachable: requests fail and readers receive nothing.
    """

    def __init__(self, topics: Mapping[str, int], record_bytes: int, now_s: Callable[[], float]) -> None:
        self.is_up = True
        self.changed = asyncio.Event()
        self._records: dict[PartitionId, list[Record]] = {
            PartitionId(topic, partition): [] for topic, count in topics.items() for partition in range(count)
        }
        self._record_bytes = record_bytes
        self._now_s = now_s

    def notify(self) -> None:
        """Wakes all waiting readers."""
        self.changed.set()
        self.changed = asyncio.Event()

    def require_up(self) -> None:
        if not self.is_up:
            raise BrokerUnreachable("the broker is unreachable")

    def partition_ids(self, topics: Sequence[str]) -> tuple[PartitionId, ...]:
        """Returns all partitions of the topics, sorted. Raises TopicMissing."""
        for topic in topics:
            if PartitionId(topic, 0) not in self._records:
                raise TopicMissing(topic)
        return tuple(sorted(partition_id for partition_id in self._records if partition_id.topic in topics))

    def records(self, partition_id: PartitionId) -> list[Record]:
        return self._records[partition_id]

    def append(self, message: Message) -> int:
        """Appends a record and returns its offset. Raises BrokerUnreachable, TopicMissing, RecordTooLarge."""
        self.require_up()
        if _size(message) > self._record_bytes:
            raise RecordTooLarge(f"{_size(message)} bytes, at most {self._record_bytes}")
        partition_id = self._partition_for(message)
        records = self._records[partition_id]
        records.append(
            Record(partition_id, len(records), int(self._now_s() * 1000), message.key, message.value, message.headers)
        )
        self.notify()
        return len(records) - 1

    def _partition_for(self, message: Message) -> PartitionId:
        partitions = [partition_id.partition for partition_id in self.partition_ids((message.topic,))]
        partition = message.partition
        if partition is None:
            partition = _choose(message.key, partitions, partitions)
        if partition not in partitions:
            raise TopicMissing(f"{message.topic} has no partition {partition}")
        return PartitionId(message.topic, partition)


class Positions:
    """Next offsets of one reader, per partition; reads the partitions in turn."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self.next: dict[PartitionId, int] = {}
        self.paused: set[PartitionId] = set()
        self.is_open = True

    async def take(self, limit: int, timeout_s: float) -> tuple[Record, ...]:
        """Returns up to `limit` records; waits up to `timeout_s` for the first."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_s
        while True:
            changed = self._log.changed
            records = self._fetch(limit)
            left_s = deadline_s - loop.time()
            if records or left_s <= 0:
                return records
            try:
                async with asyncio.timeout(left_s):
                    await changed.wait()
            except TimeoutError:
                return ()

    def _fetch(self, limit: int) -> tuple[Record, ...]:
        taken: list[Record] = []
        if self._log.is_up and self.is_open:
            for partition_id in [partition_id for partition_id in self.next if partition_id not in self.paused]:
                start = self.next[partition_id]
                found = self._log.records(partition_id)[start : start + limit - len(taken)]
                if found:
                    self.next[partition_id] = self.next.pop(partition_id) + len(found)    # now last in turn
                    taken += found
        return tuple(taken)


def _size(message: Message) -> int:
    return len(message.key or b"") + len(message.value or b"") + sum(len(k) + len(v or b"") for k, v in message.headers)
