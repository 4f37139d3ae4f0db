"""Writer that retries until the broker acknowledges the record."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from consumers.errors import BrokerUnreachable, TopicMissing
from stream.retry_policy import RetryPolicy

if TYPE_CHECKING:
    from consumers.broker import Message, Writer

log = structlog.get_logger(__name__)


class RetryingWriter:
    """Writes a record again until all replicas have it. `unreachable_s` is how long writes have failed, or 0.

    `topics_exist`: a missing topic is temporary too, since a broker that has just started knows none yet.
    """

    def __init__(self, writer: Writer, longest_backoff_s: float, topics_exist: bool = False) -> None:
        self._writer = writer
        self._policy = RetryPolicy.exponential(0.1, longest_backoff_s)
        self._temporary = (BrokerUnreachable, TopicMissing) if topics_exist else (BrokerUnreachable,)
        self._failing_since_s: float | None = None

    @property
    def unreachable_s(self) -> float:
        return 0.0 if self._failing_since_s is None else time.monotonic() - self._failing_since_s

    async def write(self, message: Message) -> None:
        """Returns once all replicas have the record. Raises RecordTooLarge, TopicMissing, BrokerRefused."""
        await self._policy.retrying(*self._temporary)(self._try, message)

    async def _try(self, message: Message) -> None:
        try:
            await self._writer.write(message)
        except self._temporary as error:
            if self._failing_since_s is None:
                self._failing_since_s = time.monotonic()
                log.warning("broker unreachable", topic=message.topic, error=str(error))
            raise
        if self._failing_since_s is not None:
            log.info("broker reachable again", after_s=round(self.unreachable_s, 1))
            self._failing_since_s = None
