"""What one stream has to say and has not said yet, in order: verdicts, alarms, its end, and refused records."""

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


class Refusal(NamedTuple):
    """A record that goes to the dead letters."""

    record: Record
    cause: Cause


class Outbox:
    """Bounded by what a worker can have in its hands: nothing is fed while something waits here."""

    def __init__(self, place: PartitionId, desk: ConsumerContext) -> None:
        self._place = place
        self._desk = desk
        self._waiting: deque[Verdict | AlarmChange | StreamEnded | Refusal] = deque()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def put(self, item: Verdict | AlarmChange | StreamEnded | Refusal) -> None:
        self._waiting.append(item)

    async def write(self) -> State | None:
        """Writes what waits, then the state that it leads to. That state, now that everything is acknowledged.

        Raises what `Outgoing.write` does.
        """
        topics, partition = self._desk.config.topics, self._place.partition
        reached: State | None = None
        while self._waiting:
            item = self._waiting[0]
            if isinstance(item, Refusal):
                await self._desk.refuse(item.record, item.cause)
            elif isinstance(item, IncidentCase | AlarmOver):
                await self._desk.alarms.keep(item)      # before the verdict that says so, which comes next
            elif isinstance(item, Verdict):
                await self._desk.out.write(verdict_message(topics.verdicts, partition, item))
            reached = item if isinstance(item, Verdict | StreamEnded) else reached
            self._waiting.popleft()
        if reached is not None:
            await self._desk.out.write(state_message(topics.states, partition, reached))
        return reached
