"""Stores alarms before their events are published.

When an alarm opens or closes, the events of its stream are held until the change is stored, for one second at most. A
client that sees the verdict therefore finds the incident. A slow disk delays one stream's events once, and never blocks
the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field

import structlog

from api.errors import StorageUnavailable
from api.incidents.alarm_log import AlarmLog
from api.incidents.incident_store import IncidentStore
from stream.event_bus import EventBus
from stream.events import Event, IncidentClosed, IncidentOpened
from stream.incident_case import AlarmChange, IncidentCase
from stream.retry_policy import RetryPolicy

log = structlog.get_logger(__name__)

WAITING = 32
_STORE_POLICY = RetryPolicy.exponential(0.1, 10.0)


@dataclass(frozen=True, slots=True)
class PublisherTimeouts:
    """`hold_s`: how long events of a stream are held for the database. `settle_s`: how long shutdown waits for it."""

    hold_s: float = 1.0
    settle_s: float = 5.0


@dataclass
class _Hold:
    """Held events of one stream, released when all `changes` are stored or the timer fires."""

    timer: asyncio.TimerHandle
    changes: list[AlarmChange] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    released: asyncio.Event = field(default_factory=asyncio.Event)


class IncidentPublisher:
    """Event sink of the stream service and alarm sink of Kafka consumers. Belongs to one event loop.

    Run `run` as a task. `on_queued` is called after webhooks were queued. Overflow policy of the queue to the database:
    the newest change is dropped and counted in `lost`.
    """

    def __init__(
        self, bus: EventBus, store: IncidentStore, executor: Executor, on_queued: Callable[[], None],
        timeouts: PublisherTimeouts = PublisherTimeouts(),
    ) -> None:
        self._bus = bus
        self._store = store
        self._executor = executor
        self._on_queued = on_queued
        self._timeouts = timeouts
        self._held: dict[str, _Hold] = {}
        self._changes: asyncio.Queue[AlarmChange] = asyncio.Queue(WAITING)
        self._is_storing = False
        self.lost = 0
        self.alarms = AlarmLog()

    @property
    def waiting(self) -> int:
        """Number of changes that are not stored yet."""
        return self._changes.qsize() + self._is_storing

    def publish(self, event: Event) -> None:
        held = self._held.get(event.stream)
        if held is None:
            self._bus.publish(event)
        else:
            held.events.append(event)

    def alarm(self, change: AlarmChange) -> None:
        self.alarms.add(change)
        try:
            self._changes.put_nowait(change)
        except asyncio.QueueFull:
            self.lost += 1
            log.error("incident lost: database queue full", lost=self.lost)
            return
        self._hold(change)

    async def keep(self, change: AlarmChange) -> None:
        """As `alarm`, but waits until the change is stored or the hold times out."""
        self.alarm(change)
        held = self._held.get(_stream_of(change))
        if held is not None:
            await held.released.wait()

    async def run(self) -> None:
        """Stores changes in order until cancelled."""
        while True:
            change = await self._changes.get()
            self._is_storing = True
            try:
                for event in await self._store_with_retry(change):
                    self._bus.publish(event)
                self._on_queued()
            finally:
                self._is_storing = False
                self._release_change(change)
                self._changes.task_done()

    async def settle(self) -> None:
        """Waits `settle_s` for pending writes, then releases all held events."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._timeouts.settle_s):
                await self._changes.join()
        if self.waiting:
            self.lost += self.waiting
            log.error("incidents lost: database did not answer before shutdown", lost=self.waiting)
        for stream in tuple(self._held):
            self._release(stream)

    async def _store_with_retry(self, change: AlarmChange) -> tuple[IncidentOpened | IncidentClosed, ...]:
        """Stores a change, with retries until the database accepts it, and returns the resulting events."""
        try:
            return await _STORE_POLICY.retrying(StorageUnavailable)(self._store_once, change)
        except Exception:
            self.lost += 1
            log.exception("incident lost", lost=self.lost)
            return ()

    async def _store_once(self, change: AlarmChange) -> tuple[IncidentOpened | IncidentClosed, ...]:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, self._write, change)
        except StorageUnavailable as error:
            log.error("incident not stored yet; retrying", error=error.cause)
            raise

    def _write(self, change: AlarmChange) -> tuple[IncidentOpened | IncidentClosed, ...]:
        if isinstance(change, IncidentCase):
            opened = self._store.save(change)
            return () if opened is None else (opened,)
        return self._store.close(change)

    def _hold(self, change: AlarmChange) -> None:
        stream = _stream_of(change)
        if stream not in self._held:
            timer = asyncio.get_running_loop().call_later(self._timeouts.hold_s, self._release, stream)
            self._held[stream] = _Hold(timer)
        self._held[stream].changes.append(change)

    def _release_change(self, change: AlarmChange) -> None:
        """Releases the hold for a stored change, but not a newer hold on the same stream."""
        held = self._held.get(_stream_of(change))
        if held is None or not any(one is change for one in held.changes):
            return
        held.changes = [one for one in held.changes if one is not change]
        if not held.changes:
            self._release(_stream_of(change))

    def _release(self, stream: str) -> None:
        held = self._held.pop(stream, None)
        if held is not None:
            held.timer.cancel()
            held.released.set()
            for event in held.events:
                self._bus.publish(event)


def _stream_of(change: AlarmChange) -> str:
    return change.origin.stream if isinstance(change, IncidentCase) else change.stream
