"""Stream sink that records a pool's reports on one stream."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from itertools import cycle
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from stream.types import DropCause, MediaUnit, Observation
    from stream.worker_pool import WorkerStream


class Recorder:
    """Recording sink; `at_s` are monotonic times of the observations."""

    def __init__(self) -> None:
        self.observations: list[Observation] = []
        self.at_s: list[float] = []
        self.gaps: list[DropCause] = []
        self.failures: list[tuple[DropCause, str]] = []
        self.keyframes_asked = 0
        self.units_used = 0
        self.refused: list[tuple[int, DropCause]] = []
        self.crashes = 0

    def observed(self, observation: Observation) -> None:
        self.observations.append(observation)
        self.at_s.append(time.monotonic())

    def used(self, units: int, refused: Sequence[tuple[int, DropCause]]) -> None:
        self.units_used += units
        self.refused += refused

    def crashed(self) -> None:
        self.crashes += 1

    def keyframe_needed(self) -> None:
        self.keyframes_asked += 1

    def gap(self, cause: DropCause) -> None:
        self.gaps.append(cause)

    def failed(self, cause: DropCause, message: str) -> None:
        self.failures.append((cause, message))


async def publish(stream: WorkerStream, media: list[MediaUnit], fps: float = 30.0) -> None:
    """Feeds units in real time, until all are fed or the task is cancelled."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    for number, unit in enumerate(media):
        await asyncio.sleep(max(0.0, began_s + number / fps - loop.time()))
        stream.feed(unit)


@asynccontextmanager
async def publishing(stream: WorkerStream, media: list[MediaUnit], fps: float = 30.0) -> AsyncIterator[None]:
    """Feeds a clip in a loop, as one long call."""
    rounds = (
        msgspec.structs.replace(unit, sequence=number, pts_s=number / fps)
        for number, unit in enumerate(cycle(media))
    )

    async def feed() -> None:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        for unit in rounds:
            await asyncio.sleep(max(0.0, began_s + unit.pts_s - loop.time()))
            stream.feed(unit)

    task = asyncio.create_task(feed())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool], limit_s: float = 30.0) -> float:
    """Waits for a condition and returns how long it took in seconds. Raises TimeoutError."""
    began_s = time.monotonic()
    async with asyncio.timeout(limit_s):
        while not condition():
            await asyncio.sleep(0.01)
    return time.monotonic() - began_s
