"""Where a service's events go, and what becomes of its alarms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from stream.event_bus import EventBus
    from stream.events import Event
    from stream.incident_case import AlarmChange


class EventSink(Protocol):
    """Between the sessions and the bus. All calls happen in the event loop; none but `settle` may wait."""

    def publish(self, event: Event) -> None:
        """Passes an event on, in order within its stream; it may be held back for a moment."""

    def alarm(self, change: AlarmChange) -> None:
        """An alarm opened or is over; the event that says so follows."""

    async def settle(self) -> None:
        """Returns when nothing is held back any more. Idempotent."""


class DirectEventSink:
    """Everything straight to the bus; of alarms nothing is kept but the verdicts."""

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus

    def publish(self, event: Event) -> None:
        self._bus.publish(event)

    def alarm(self, change: AlarmChange) -> None:
        """The verdict says it."""

    async def settle(self) -> None:
        """Nothing is ever held back."""
