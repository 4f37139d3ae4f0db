"""Consumer context: the worker pool, writer, claim-check fetcher and dead-letter limit that all partitions share."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import TYPE_CHECKING, Protocol

import structlog

from consumers.dead_letters import DeadLetterLimit, dead_letter
from consumers.poison_pills import PoisonPills

if TYPE_CHECKING:
    from consumers.broker import Record
    from consumers.claim_check import ClaimFetcher
    from consumers.config import ConsumerConfig
    from consumers.dead_letters import Cause
    from consumers.retrying_writer import RetryingWriter
    from stream.incident_case import AlarmChange
    from stream.protocols import Workers

log = structlog.get_logger(__name__)


class AlarmSink(Protocol):
    """Stores alarm changes. Implemented by `api.incidents.incident_publisher`."""

    async def keep(self, change: AlarmChange) -> None:
        """Returns once the change is stored, or after a time limit. Never raises."""
        ...


class NoAlarmSink:
    """Stores nothing: alarms appear only in the verdicts."""

    async def keep(self, change: AlarmChange) -> None:
        """Does nothing."""


class ConsumerContext:
    """Shared state of one consumer; used from one event loop.

    `worker_epochs` numbers every opening of a stream in the pool, so that late answers to an earlier opening are
    ignored. `worker_lost` is set when a worker died with media that must be read again. `dead_letters` counts all
    rejected records.
    """

    def __init__(
        self, config: ConsumerConfig, pool: Workers, writer: RetryingWriter, claim_fetcher: ClaimFetcher,
        alarms: AlarmSink,
    ) -> None:
        self.config = config
        self.pool = pool
        self.writer = writer
        self.worker_epochs = count(1)
        self.claim_fetcher = claim_fetcher
        self.alarms = alarms
        self.dead_letter_limit = DeadLetterLimit()
        self.poison_pills = PoisonPills()
        self.worker_lost = asyncio.Event()
        self.dead_letters = 0

    async def reject(self, record: Record, cause: Cause) -> None:
        """Writes a record to the dead-letter queue, or only counts it when the limit is reached."""
        self.dead_letters += 1
        if self.dead_letter_limit.allows():
            topics = self.config.topics
            log.warning(
                "record rejected", topic=record.partition_id.topic, partition=record.partition_id.partition,
                offset=record.offset, stage=cause.stage, error=cause.error,
            )
            await self.writer.write(dead_letter(topics.dead_letters, self.config.group, record, cause))
