"""Shared context of a consumer's streams: workers, writer, claim checks, dead letters."""

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
    from consumers.config import ConsumeConfig
    from consumers.dead_letters import Cause
    from consumers.retrying_writer import RetryingWriter
    from stream.incident_case import AlarmChange
    from stream.protocols import Workers

log = structlog.get_logger(__name__)


class AlarmKeeper(Protocol):
    """Store of alarms. Implemented by `api.incidents.incident_publisher`."""

    async def keep(self, change: AlarmChange) -> None:
        """Stores a change; returns when it is stored or the wait times out. Raises nothing."""
        ...


class NoAlarmKeeper:
    """Stores no alarms: they are in the verdicts alone."""

    async def keep(self, change: AlarmChange) -> None:
        """Does nothing."""


class ConsumerContext:
    """Context shared by all partitions; use it from one event loop.

    `handles` numbers each opening of a stream in the pool, so that late messages of an earlier opening are recognised.
    `worker_lost` is set when a worker died with media that must be read again.
    """

    def __init__(
        self, config: ConsumeConfig, pool: Workers, out: RetryingWriter, claims: ClaimFetcher, alarms: AlarmKeeper
    ) -> None:
        self.config = config
        self.pool = pool
        self.out = out
        self.handles = count(1)
        self.claims = claims
        self.alarms = alarms
        self.limit = DeadLetterLimit()
        self.suspects = PoisonPills()
        self.worker_lost = asyncio.Event()
        self.dead = 0

    async def refuse(self, record: Record, cause: Cause) -> None:
        """Writes a record to the dead-letter topic, unless the limit is reached, and counts it."""
        self.dead += 1
        if self.limit.allows():
            topics = self.config.topics
            log.warning(
                "record refused", topic=record.place.topic, partition=record.place.partition, offset=record.offset,
                stage=cause.stage, error=cause.error,
            )
            await self.out.write(dead_letter(topics.dead_letters, self.config.group, record, cause))
