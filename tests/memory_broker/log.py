"""What a broker within this process holds, and how its readers go through it."""

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
    """What is written, per partition. `topics` is how many partitions each has.

    While `is_up` is False nothing can be written, committed or asked for, and nothing arrives, as if the broker was
    away.
    """

    def __init__(self, topics: Mapping[str, int], record_bytes: int, now_s: Callable[[], float]) -> None:
        self.is_up = True
        self.news = asyncio.Event()
        self._records: dict[PartitionId, list[Record]] = {
            PartitionId(topic, partition): [] for topic, count in topics.items() for partition in range(count)
        }
        self._record_bytes = record_bytes
        self._now_s = now_s

    def tell(self) -> None:
        """Wakes everybody who waits for news."""
        self.news.set()
        self.news = asyncio.Event()

    def require_up(self) -> None:
        if not self.is_up:
            raise BrokerUnreachable("the broker is away")

    def places(self, topics: Sequence[str]) -> tuple[PartitionId, ...]:
        """Raises TopicMissing."""
        for topic in topics:
            if PartitionId(topic, 0) not in self._records:
                raise TopicMissing(topic)
        return tuple(sorted(place for place in self._records if place.topic in topics))

    def records(self, place: PartitionId) -> list[Record]:
        return self._records[place]

    def append(self, message: Message) -> int:
        """The offset. Raises BrokerUnreachable, TopicMissing, RecordTooLarge."""
        self.require_up()
        if _size(message) > self._record_bytes:
            raise RecordTooLarge(f"{_size(message)} bytes, at most {self._record_bytes}")
        place = self._place_for(message)
        records = self._records[place]
        records.append(
            Record(place, len(records), int(self._now_s() * 1000), message.key, message.value, message.headers)
        )
        self.tell()
        return len(records) - 1

    def _place_for(self, message: Message) -> PartitionId:
        partitions = [place.partition for place in self.places((message.topic,))]
        partition = message.partition
        if partition is None:
            partition = _choose(message.key, partitions, partitions)
        if partition not in partitions:
            raise TopicMissing(f"{message.topic} has no partition {partition}")
        return PartitionId(message.topic, partition)


class Positions:
    """How far one reader is, per partition that it reads; takes turns among them."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self.next: dict[PartitionId, int] = {}
        self.paused: set[PartitionId] = set()
        self.is_open = True

    async def take(self, limit: int, timeout_s: float) -> tuple[Record, ...]:
        """Up to `limit` records; waits up to `timeout_s` for the first."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_s
        while True:
            news = self._log.news
            records = self._fetch(limit)
            left_s = deadline_s - loop.time()
            if records or left_s <= 0:
                return records
            try:
                async with asyncio.timeout(left_s):
                    await news.wait()
            except TimeoutError:
                return ()

    def _fetch(self, limit: int) -> tuple[Record, ...]:
        taken: list[Record] = []
        if self._log.is_up and self.is_open:
            for place in [place for place in self.next if place not in self.paused]:
                start = self.next[place]
                found = self._log.records(place)[start : start + limit - len(taken)]
                if found:
                    self.next[place] = self.next.pop(place) + len(found)    # to the end of the row
                    taken += found
        return tuple(taken)


def _size(message: Message) -> int:
    return len(message.key or b"") + len(message.value or b"") + sum(len(k) + len(v or b"") for k, v in message.headers)
