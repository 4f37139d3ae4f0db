"""Everything that a consumer writes: until it is acknowledged, however long the broker is away."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog

from consumers.errors import BrokerUnreachable, TopicMissing

if TYPE_CHECKING:
    from consumers.broker import Message, Writer

log = structlog.get_logger(__name__)

_FIRST_BACKOFF_S = 0.1


class RetryingWriter:
    """`unreachable_s` is for how long no write has come through that was tried; 0 while all is well.

    Where it is known that `topics_exist`, a missing one is waited for, too: a broker that just started knows none yet.
    """

    def __init__(self, writer: Writer, longest_backoff_s: float, topics_exist: bool = False) -> None:
        self._writer = writer
        self._longest_backoff_s = longest_backoff_s
        self._waits_for = (BrokerUnreachable, TopicMissing) if topics_exist else (BrokerUnreachable,)
        self._failing_since_s: float | None = None

    @property
    def unreachable_s(self) -> float:
        return 0.0 if self._failing_since_s is None else time.monotonic() - self._failing_since_s

    async def write(self, message: Message) -> None:
        """Returns once all replicas have the record. Raises RecordTooLarge, TopicMissing, BrokerRefused."""
        backoff_s = _FIRST_BACKOFF_S
        while not await self._try(message):
            await asyncio.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, self._longest_backoff_s)

    async def _try(self, message: Message) -> bool:
        try:
            await self._writer.write(message)
        except self._waits_for as error:
            if self._failing_since_s is None:
                self._failing_since_s = time.monotonic()
                log.warning("broker unreachable", topic=message.topic, error=str(error))
            return False
        if self._failing_since_s is not None:
            log.info("broker reachable again", after_s=round(self.unreachable_s, 1))
            self._failing_since_s = None
        return True
