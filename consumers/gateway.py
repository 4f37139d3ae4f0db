"""Follows the verdicts of all workers into a local feed. No consumer group: every gateway reads everything.

Starts 30 s back, so that clients see the running streams at once.
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

REPLAY_S = 30.0

_BATCH = 1000
_TAKE_S = 0.5
_ASK_EVERY_S = 5.0
_READ_POLICY = RetryPolicy((1.0,))


class _Waiting(NamedTuple):
    """An end, to be told once the verdicts of `place` were read up to `offset`: they lie in different topics."""

    ended: StreamEnded
    place: PartitionId
    offset: int


class Gateway:
    """One process's reading. `publish` must not block. `run` is called once."""

    def __init__(self, broker: Broker, topics: Topics, publish: Callable[[Event], None]) -> None:
        self._broker = broker
        self._topics = topics
        self._publish = publish
        self._following = VerdictFeed()
        self._positions: dict[PartitionId, int] = {}
        self._ends: list[tuple[StreamEnded, PartitionId]] = []
        self._waiting: list[_Waiting] = []
        self._reached_s = float("-inf")
        self.skipped = 0

    @property
    def unreachable_s(self) -> float:
        """How long ago the broker answered last; infinite before the first time."""
        return time.monotonic() - self._reached_s

    async def run(self) -> NoReturn:
        """Until it is cancelled. While the broker is away, or refuses, it tries again: `unreachable_s` tells."""
        while True:
            try:
                await self._follow()
            except ConsumerError as error:
                log.warning("verdicts cannot be followed", error=str(error))
                await asyncio.sleep(_READ_POLICY.delay_s())

    async def _follow(self) -> NoReturn:
        reader = await self._broker.reader([self._topics.verdicts, self._topics.states])
        try:
            await self._find_place(reader)
            log.info("following verdicts", topic=self._topics.verdicts)
            while True:
                await self._tell(reader, await reader.take(_BATCH, _TAKE_S))
        finally:
            await reader.close()

    async def _find_place(self, reader: Reader) -> None:
        """Where it was before a cut; a while back at first."""
        if self._positions:
            await reader.ends()
            await reader.seek(self._positions)
        else:
            self._positions = await reader.seek_to_time(time.time() - REPLAY_S)
        self._reached_s = time.monotonic()

    async def _tell(self, reader: Reader, records: tuple[Record, ...]) -> None:
        self._ends += [end for record in records if (end := self._take(record)) is not None]
        if self._ends or self.unreachable_s > _ASK_EVERY_S:
            reached = await reader.ends()
            self._reached_s = time.monotonic()
            self._waiting += [_Waiting(ended, place, reached[place]) for ended, place in self._ends]
            self._ends.clear()
        for waiting in [each for each in self._waiting if self._positions[each.place] >= each.offset]:
            self._waiting.remove(waiting)
            self._publish_all(self._following.ended(waiting.ended))
        self._publish_all(self._following.expire(time.time()))

    def _take(self, record: Record) -> tuple[StreamEnded, PartitionId] | None:
        """Tells a verdict; gives an end back, with the partition that holds the verdicts before it."""
        self._positions[record.place] = record.next_offset
        event = self._decoded(record)
        if isinstance(event, StreamEnded):
            return event, PartitionId(self._topics.verdicts, record.place.partition)
        if isinstance(event, Verdict) and record.place.topic == self._topics.verdicts:
            self._publish_all(self._following.verdict(event, record.timestamp_ms / 1000, time.time()))
        return None

    def _decoded(self, record: Record) -> Event | None:
        """None for a tombstone, and for what is none of ours."""
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
