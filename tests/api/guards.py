"""Guards for tests of connections: nothing left behind, the event loop never blocked."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from contextlib import asynccontextmanager, suppress
from operator import gt
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from aiortc import RTCPeerConnection

from tests.machine import queued_s

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


# threads of pools, which start when there is work and stay: the loop's, the web framework's, and those of the services
# that run beside the tests in this process
_POOLS = ("asyncio_", "asyncio-waitpid-", "AnyIO worker thread", "incidents_")
_DESCRIPTORS = Path("/proc/self/fd")


class Resources(NamedTuple):
    """What this process holds; of its descriptors those that are no files: the databases of services that run beside
    the tests come and go."""

    fds: int
    threads: int
    tasks: int
    connections: int


def resources() -> Resources:
    gc.collect()
    connections = sum(isinstance(thing, RTCPeerConnection) for thing in gc.get_objects())
    threads = sum(not thread.name.startswith(_POOLS) for thread in threading.enumerate())
    return Resources(_open_descriptors(), threads, len(asyncio.all_tasks()), connections)


def _open_descriptors() -> int:
    count = 0
    for entry in _DESCRIPTORS.iterdir():
        with suppress(FileNotFoundError):       # the one that lists them
            count += not entry.readlink().is_absolute()
    return count


@asynccontextmanager
async def nothing_left(settle_s: float = 15.0) -> AsyncIterator[None]:
    """What happens inside leaves no descriptor, thread, task or connection, a few seconds later at most."""
    before = resources()
    yield
    end_s = time.monotonic() + settle_s
    while any(map(gt, after := resources(), before)) and time.monotonic() < end_s:
        await asyncio.sleep(0.05)
    assert not any(map(gt, after, before)), f"{before} became {after}"


@asynccontextmanager
async def loop_never_blocked(limit_s: float = 0.25) -> AsyncIterator[None]:
    """The event loop comes round at least every `limit_s`, but for the time in which others had its core.

    Garbage of earlier tests is put aside: to look through all of it takes a large part of the limit.
    """
    rounds = _Rounds()
    gc.collect()
    gc.freeze()
    task = asyncio.create_task(rounds.watch())
    try:
        yield
    finally:
        gc.unfreeze()
        rounds.is_over = True
        await task
    assert rounds.worst_s < limit_s, f"the loop did not come round for {rounds.worst_s:.3f} s"


class _Rounds:
    """How late a task of this loop gets its turn, less the time that its thread was ready and stood in the queue.

    Whoever sleeps, waits for I/O or computes in the loop is late without standing in the queue.
    """

    _EVERY_S = 0.01

    def __init__(self) -> None:
        self.is_over = False
        self.worst_s = 0.0

    async def watch(self) -> None:
        while not self.is_over:
            asked_s, queued_before_s = time.monotonic(), queued_s()
            await asyncio.sleep(self._EVERY_S)
            late_s = time.monotonic() - asked_s - self._EVERY_S
            self.worst_s = max(self.worst_s, late_s - (queued_s() - queued_before_s))
