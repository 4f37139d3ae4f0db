"""Keeps alarms before anybody hears of them.

A stream whose alarm opens (or closes) is held back until the database has it, for `HOLD_S` at most: who saw the verdict
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

from api.incidents.store import IncidentStore
from stream.bus import Bus
from stream.events import Event, IncidentClosed, IncidentOpened
from stream.incident import AlarmChange, Case

log = structlog.get_logger(__name__)

HOLD_S = 1.0
SETTLE_S = 5.0
WAITING = 32
_BACKOFF_S = (0.1, 10.0)


@dataclass
class _Held:
    """Events of one stream that wait for `changes` writes, or for the timer."""

    timer: asyncio.TimerHandle
    changes: int = 1
    events: list[Event] = field(default_factory=list)


class IncidentDesk:
    """The Outlet that keeps incidents. Overflow policy of what waits for the database: the newest is not kept, and
    counted in `lost`. `queued` is called when webhooks may be waiting. `run` is to be a task; belongs to one event
    loop."""

    def __init__(self, bus: Bus, store: IncidentStore, executor: Executor, queued: Callable[[], None]) -> None:
        self._bus = bus
        self._store = store
        self._executor = executor
        self._queued = queued
        self._held: dict[str, _Held] = {}
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
        self._hold(_stream_of(change))

    async def run(self) -> None:
        """Writes one change after the other, until cancelled."""
        while True:
            change = await self._changes.get()
            try:
                for event in await self._written(change):
                    self._bus.publish(event)
                self._queued()
            finally:
                self._let_go(_stream_of(change))
                self._changes.task_done()

    async def settle(self) -> None:
        """Waits for what is not written yet, for `SETTLE_S` at most; then nothing is held any more."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_S):
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
            opened = self._store.keep(change)
            return () if opened is None else (opened,)
        return self._store.close(change)

    def _hold(self, stream: str) -> None:
        if stream in self._held:
            self._held[stream].changes += 1
            return
        timer = asyncio.get_running_loop().call_later(HOLD_S, self._release, stream)
        self._held[stream] = _Held(timer)

    def _let_go(self, stream: str) -> None:
        """One write for this stream is done."""
        held = self._held.get(stream)
        if held is not None:
            held.changes -= 1
            if held.changes <= 0:
                self._release(stream)

    def _release(self, stream: str) -> None:
        held = self._held.pop(stream, None)
        if held is not None:
            held.timer.cancel()
            for event in held.events:
                self._bus.publish(event)


def _stream_of(change: AlarmChange) -> str:
    return change.origin.stream if isinstance(change, Case) else change.stream
