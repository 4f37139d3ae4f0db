"""Event bus: in-process fan-out of events with a bounded history. Used from one event loop.

Overflow policy of a subscriber: a new verdict replaces a waiting one of equal stream, epoch, label and reason.
Everything else is kept. A subscriber whose queue is full even so gets SubscriberTooSlow once, and can resume from its
last offset.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, NamedTuple

from stream.errors import BusClosed, SubscriberTooSlow
from stream.events import Event, Label, StreamEnded, StreamStarted, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

HISTORY_EVENTS = 4096
QUEUE_EVENTS = 256


class Envelope(NamedTuple):
    """An event with its offset in this feed; offsets grow by one.

    `call_id` is that of the event's stream. For a verdict, `label_before` is the label of the stream's previous
    verdict.
    """

    offset: int
    event: Event
    call_id: str = ""
    label_before: Label | None = None


class Selection(NamedTuple):
    """Event filter of a subscriber; None means all.

    Labels filter verdicts alone. A verdict also passes if the previous one had a selected label, so that subscribers
    see when that label no longer holds.
    """

    streams: frozenset[str] | None = None
    calls: frozenset[str] | None = None
    labels: frozenset[Label] | None = None

    def wants(self, envelope: Envelope) -> bool:
        """Whether this event passes the filter."""
        event = envelope.event
        if self.streams is not None and event.stream not in self.streams:
            return False
        if self.calls is not None and envelope.call_id not in self.calls:
            return False
        if self.labels is None or not isinstance(event, Verdict):
            return True
        return event.label in self.labels or envelope.label_before in self.labels


class Subscription:
    """One subscriber's bounded queue. Single consumer."""

    def __init__(self, selection: Selection, recovered: bool, backlog: tuple[Envelope, ...]) -> None:
        self.selection = selection
        self.recovered = recovered
        self.backlog = backlog
        self._waiting: OrderedDict[int, Envelope] = OrderedDict()
        self._latest_verdict: dict[str, int] = {}
        self._wake = asyncio.Event()
        self._closed = False
        self._overflowed = False

    def offer(self, envelope: Envelope) -> None:
        """Queues an event. Called by the bus; never blocks."""
        if self._closed or self._overflowed or not self.selection.wants(envelope):
            return
        self._conflate(envelope.event)
        if len(self._waiting) >= QUEUE_EVENTS:
            self._overflowed = True
            self._waiting.clear()
        else:
            self._waiting[envelope.offset] = envelope
            if isinstance(envelope.event, Verdict):
                self._latest_verdict[envelope.event.stream] = envelope.offset
        self._wake.set()

    async def next(self) -> Envelope:
        """Returns the next event. Raises SubscriberTooSlow after an overflow, BusClosed at the end."""
        while not self._waiting:
            if self._overflowed:
                raise SubscriberTooSlow("the subscriber fell too far behind; resume from its last offset")
            if self._closed:
                raise BusClosed("the feed is closed")
            self._wake.clear()
            await self._wake.wait()
        _, envelope = self._waiting.popitem(last=False)
        return envelope

    def close(self) -> None:
        """Accepts no new events. Waiting events can still be read."""
        self._closed = True
        self._wake.set()

    def _conflate(self, event: Event) -> None:
        if len(self._waiting) < QUEUE_EVENTS // 2 or not isinstance(event, Verdict):
            return
        waiting = self._waiting.get(self._latest_verdict.get(event.stream, -1))
        if waiting is not None and isinstance(waiting.event, Verdict) and _is_repeat(waiting.event, event):
            del self._waiting[waiting.offset]


class EventBus:
    """Publishes events to subscribers and keeps the newest ones for subscribers that resume."""

    def __init__(self) -> None:
        self.feed = secrets.token_hex(8)
        self._offset = 0
        self._history: deque[Envelope] = deque(maxlen=HISTORY_EVENTS)
        self._started: OrderedDict[str, Envelope] = OrderedDict()
        self._verdicts: dict[str, Envelope] = {}
        self._subscriptions: set[Subscription] = set()
        self._listeners: list[Callable[[Event], None]] = []

    @property
    def offset(self) -> int:
        """Offset of the newest event; 0 before the first."""
        return self._offset

    def publish(self, event: Event) -> None:
        self._offset += 1
        envelope = self._enveloped(event)
        self._history.append(envelope)
        self._remember(envelope)
        for listener in self._listeners:
            listener(event)
        for subscription in self._subscriptions:
            subscription.offer(envelope)

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Calls `listener` with every event, before any subscriber gets it. The listener must neither block nor
        raise."""
        self._listeners.append(listener)

    def subscribe(self, selection: Selection, resume_after: int | None = None) -> Subscription:
        """Subscribes from now on. `backlog` holds the events since `resume_after`, if the history reaches back to
        it."""
        recovered = resume_after is not None and self._history_reaches(resume_after)
        missed = (e for e in self._history if recovered and resume_after is not None and e.offset > resume_after)
        subscription = Subscription(selection, recovered, tuple(e for e in missed if selection.wants(e)))
        self._subscriptions.add(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        subscription.close()
        self._subscriptions.discard(subscription)

    def snapshot(self, selection: Selection) -> tuple[Envelope, ...]:
        """Returns the selected start and latest verdict of each running stream."""
        known = ((started, self._verdicts.get(stream)) for stream, started in self._started.items())
        return tuple(envelope for pair in known for envelope in pair if envelope and selection.wants(envelope))

    def close(self) -> None:
        for subscription in tuple(self._subscriptions):
            self.unsubscribe(subscription)

    def _enveloped(self, event: Event) -> Envelope:
        before = self._verdicts.get(event.stream) if isinstance(event, Verdict) else None
        label = before.event.label if before is not None and isinstance(before.event, Verdict) else None
        started = event if isinstance(event, StreamStarted) else self._start_of(event.stream)
        return Envelope(self._offset, event, started.call_id if started is not None else "", label)

    def _start_of(self, stream: str) -> StreamStarted | None:
        envelope = self._started.get(stream)
        return envelope.event if envelope is not None and isinstance(envelope.event, StreamStarted) else None

    def _history_reaches(self, offset: int) -> bool:
        oldest = self._history[0].offset if self._history else self._offset + 1
        return oldest - 1 <= offset <= self._offset

    def _remember(self, envelope: Envelope) -> None:
        event = envelope.event
        if isinstance(event, StreamStarted):
            self._started[event.stream] = envelope
            self._verdicts.pop(event.stream, None)
        elif isinstance(event, Verdict):
            self._verdicts[event.stream] = envelope
        elif isinstance(event, StreamEnded):
            self._started.pop(event.stream, None)
            self._verdicts.pop(event.stream, None)


def _is_repeat(earlier: Verdict, later: Verdict) -> bool:
    return (earlier.epoch, earlier.label, earlier.reason) == (later.epoch, later.label, later.reason)
