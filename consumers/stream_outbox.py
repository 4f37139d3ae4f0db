"""Stream outbox: verdicts, alarm changes, end and rejected records of one stream, waiting to be written in order."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from consumers.verdict_records import state_message, verdict_message
from stream.events import StreamEnded, Verdict
from stream.incident_case import AlarmOver, IncidentCase

if TYPE_CHECKING:
    from consumers.broker import PartitionId, Record
    from consumers.consumer_context import ConsumerContext
    from consumers.dead_letters import Cause
    from consumers.verdict_records import State
    from stream.incident_case import AlarmChange


class Rejection(NamedTuple):
    """A record for the dead-letter queue, and why."""

    record: Record
    cause: Cause


class Outbox:
    """Ordered queue of output. Its size is bounded: no unit is fed to the worker while anything waits here."""

    def __init__(self, partition_id: PartitionId, context: ConsumerContext) -> None:
        self._partition_id = partition_id
        self._context = context
        self._waiting: deque[Verdict | AlarmChange | StreamEnded | Rejection] = deque()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def put(self, item: Verdict | AlarmChange | StreamEnded | Rejection) -> None:
        self._waiting.append(item)

    async def write(self) -> State | None:
        """Writes everything that waits, then the resulting state. Returns that state once all is acknowledged.

        Raises the errors of `RetryingWriter.write`.
        """
        topics, partition = self._context.config.topics, self._partition_id.partition
        state: State | None = None
        while self._waiting:
            item = self._waiting[0]
            if isinstance(item, Rejection):
                await self._context.reject(item.record, item.cause)
            elif isinstance(item, IncidentCase | AlarmOver):
                await self._context.alarms.keep(item)      # stored before the verdict that reports it
            elif isinstance(item, Verdict):
                await self._context.writer.write(verdict_message(topics.verdicts, partition, item))
            state = item if isinstance(item, Verdict | StreamEnded) else state
            self._waiting.popleft()
        if state is not None:
            await self._context.writer.write(state_message(topics.states, partition, state))
        return state
