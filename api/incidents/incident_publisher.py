"""Keeps alarms before anybody hears of them.

A stream whose alarm opens (or closes) is held back until the database has it, for a second at most: who saw the verdict
can rely on the incident, and a slow disk delays one stream's events by that much, once. The event loop never waits.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field

import structlog
from sqlalchemy.exc import SQLAlchemyError

from api.incidents.incident_store import IncidentStore
from stream.event_bus import Bus
from stream.events import Event, IncidentClosed, IncidentOpened
from stream.incident_case import AlarmChange, Case

log = structlog.get_logger(__name__)

WAITING = 32
_BACKOFF_S = (0.1, 10.0)


@dataclass(frozen=True, slots=True)
class PublisherTimeouts:
    """How long a stream is held back for the database, and how long the end of the service waits for it."""

    hold_s: float = 1.0
    settle_s: float = 5.0


@dataclass
class _Hold:
    """Events of one stream that wait until `changes` are written, or for the timer."""

    timer: asyncio.TimerHandle
    changes: list[AlarmChange] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)


class IncidentPublisher:
    """The Outlet of the service, and the Alarms of consumers. `queued` is called when webhooks may be waiting.

    Overflow policy of what waits for the database: the newest is not kept, and counted in `lost`. `run` is to be a
    task; belongs to one event loop.
    """

    def __init__(
        self, bus: Bus, store: IncidentStore, executor: Executor, queued: Callable[[], None],
        timeouts: PublisherTimeouts = PublisherTimeouts(),
    ) -> None:
        self._bus = bus
        self._store = store
        self._executor = executor
        self._queued = queued
        self._timeouts = timeouts
        self._held: dict[str, _Hold] = {}
        self._changes: asyncio.Queue[AlarmChange] = asyncio.Queue(WAITING)
        self.lost = 0

    def publish(self, event: Event) -> None:
        held = self._held.get(event.stream)
        if held is None:
            self._bus.publish(event)
        else:
            held.events.append(event)

    def alarm(self, change: AlarmChange) -> None:
        try:
            self._changes.put_nowait(change)
        except asyncio.QueueFull:
            self.lost += 1
            log.error("incident lost: the database does not keep up", lost=self.lost)
            return
        self._hold(change)

    async def keep(self, change: AlarmChange) -> None:
        """As `alarm`, for who can wait: returns when it is written, or after as long as a stream is held back."""
        self.alarm(change)
        held = self._held.get(_stream_of(change))
        if held is not None:
            await held.over.wait()

    async def run(self) -> None:
        """Writes one change after the other, until cancelled."""
        while True:
            change = await self._changes.get()
            try:
                for event in await self._written(change):
                    self._bus.publish(event)
                self._queued()
            finally:
                self._let_go(change)
                self._changes.task_done()

    async def settle(self) -> None:
        """Waits for what is not written yet, but not for ever; then nothing is held any more."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._timeouts.settle_s):
                await self._changes.join()
        if not self._changes.empty():
            log.error("incidents lost: the database did not answer before the end", lost=self._changes.qsize())
        for stream in tuple(self._held):
            self._release(stream)

    async def _written(self, change: AlarmChange) -> tuple[IncidentOpened | IncidentClosed, ...]:
        """The events that follow; tried until the database takes it."""
        backoff_s, longest_s = _BACKOFF_S
        while True:
            try:
                return await asyncio.get_running_loop().run_in_executor(self._executor, self._write, change)
            except SQLAlchemyError as error:
                log.error("incident not written yet", error=type(error).__name__, again_s=backoff_s)
            except Exception:
                self.lost += 1
                log.exception("incident lost", lost=self.lost)
                return ()
            await asyncio.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, longest_s)

    def _write(self, change: AlarmChange) -> tuple[IncidentOpened | IncidentClosed, ...]:
        if isinstance(change, Case):
            opened = self._store.save(change)
            return () if opened is None else (opened,)
        return self._store.close(change)

    def _hold(self, change: AlarmChange) -> None:
        stream = _stream_of(change)
        if stream not in self._held:
            timer = asyncio.get_running_loop().call_later(self._timeouts.hold_s, self._release, stream)
            self._held[stream] = _Hold(timer)
        self._held[stream].changes.append(change)

    def _let_go(self, change: AlarmChange) -> None:
        """It is written; a hold that began after the one it was waited for in is not its own."""
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
            held.over.set()
            for event in held.events:
                self._bus.publish(event)


def _stream_of(change: AlarmChange) -> str:
    return change.origin.stream if isinstance(change, Case) else change.stream
