"""Verdict gateway: reads the verdicts of all consumers into a local feed, without a consumer group.

Starts 30 s back, so that clients see running streams at once.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import msgspec
import structlog

from consumers.broker import PartitionId
from consumers.errors import ConsumerError
from consumers.verdict_feed import VerdictFeed
from stream import event_encoding
from stream.events import StreamEnded, Verdict
from stream.retry_policy import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Callable

    from consumers.broker import Broker, Reader, Record
    from consumers.config import Topics
    from stream.events import Event

log = structlog.get_logger(__name__)

START_BACK_S = 30.0

_BATCH = 1000
_POLL_S = 0.5
_ASK_EVERY_S = 5.0
_READ_POLICY = RetryPolicy((1.0,))


class _PendingEnd(NamedTuple):
    """A stream's end, held back until its verdicts, in another topic, are read up to `offset` of `partition_id`."""

    ended: StreamEnded
    partition_id: PartitionId
    offset: int


class Gateway:
    """Reads verdicts and ends for one process. `publish` must not block. Call `run` once."""

    def __init__(self, broker: Broker, topics: Topics, publish: Callable[[Event], None]) -> None:
        self._broker = broker
        self._topics = topics
        self._publish = publish
        self._verdict_feed = VerdictFeed()
        self._positions: dict[PartitionId, int] = {}
        self._ends: list[tuple[StreamEnded, PartitionId]] = []
        self._pending_ends: list[_PendingEnd] = []
        self._answered_s = float("-inf")
        self.skipped = 0

    @property
    def unreachable_s(self) -> float:
        """Seconds since the broker answered last; infinite before its first answer."""
        return time.monotonic() - self._answered_s

    async def run(self) -> NoReturn:
        """Reads until it is cancelled. Retries while the broker is unreachable or refuses; see `unreachable_s`."""
        while True:
            try:
                await self._read()
            except ConsumerError as error:
                log.warning("verdict reading failed", error=str(error))
                await asyncio.sleep(_READ_POLICY.delay_s())

    async def _read(self) -> NoReturn:
        reader = await self._broker.reader([self._topics.verdicts, self._topics.states])
        try:
            await self._seek(reader)
            log.info("reading verdicts", topic=self._topics.verdicts)
            while True:
                await self._process(reader, await reader.take(_BATCH, _POLL_S))
        finally:
            await reader.close()

    async def _seek(self, reader: Reader) -> None:
        """Seeks to the last position after a reconnect; `START_BACK_S` seconds back at the first connection."""
        if self._positions:
            await reader.ends()
            await reader.seek(self._positions)
        else:
            self._positions = await reader.seek_to_time(time.time() - START_BACK_S)
        self._answered_s = time.monotonic()

    async def _process(self, reader: Reader, records: tuple[Record, ...]) -> None:
        self._ends += [end for record in records if (end := self._take(record)) is not None]
        if self._ends or self.unreachable_s > _ASK_EVERY_S:
            ends = await reader.ends()
            self._answered_s = time.monotonic()
            self._pending_ends += [_PendingEnd(ended, source, ends[source]) for ended, source in self._ends]
            self._ends.clear()
        for pending in [each for each in self._pending_ends if self._positions[each.partition_id] >= each.offset]:
            self._pending_ends.remove(pending)
            self._publish_all(self._verdict_feed.ended(pending.ended))
        self._publish_all(self._verdict_feed.expire(time.time()))

    def _take(self, record: Record) -> tuple[StreamEnded, PartitionId] | None:
        """Publishes a verdict. Returns an end, with the partition that holds the verdicts before it."""
        self._positions[record.partition_id] = record.next_offset
        event = self._decode(record)
        if isinstance(event, StreamEnded):
            return event, PartitionId(self._topics.verdicts, record.partition_id.partition)
        if isinstance(event, Verdict) and record.partition_id.topic == self._topics.verdicts:
            self._publish_all(self._verdict_feed.verdict(event, record.timestamp_ms / 1000, time.time()))
        return None

    def _decode(self, record: Record) -> Event | None:
        """Returns the event in a record; None for a tombstone or a foreign record."""
        if record.unreadable is not None:
            self.skipped += record.next_offset - record.offset
            return None
        try:
            return None if record.value is None else event_encoding.decode(record.value)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self.skipped += 1
            return None

    def _publish_all(self, events: list[Event]) -> None:
        for event in events:
            self._publish(event)
