"""Event sink: receives the events and alarms of a service's sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from stream.event_bus import EventBus
    from stream.events import Event
    from stream.incident_case import AlarmChange


class EventSink(Protocol):
    """Sits between the sessions and the event bus. All calls happen in the event loop; only `settle` may wait."""

    def publish(self, event: Event) -> None:
        """Forwards an event, in order within its stream. It may be held back briefly."""

    def alarm(self, change: AlarmChange) -> None:
        """Records that an alarm opened or closed. The event that says so follows."""

    async def settle(self) -> None:
        """Returns when no event is held back. Idempotent."""


class DirectEventSink:
    """Publishes every event at once, and stores no evidence of alarms."""

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus

    def publish(self, event: Event) -> None:
        self._bus.publish(event)

    def alarm(self, change: AlarmChange) -> None:
        """No-op: the verdict carries the alarm."""

    async def settle(self) -> None:
        """No-op: no event is held back."""
