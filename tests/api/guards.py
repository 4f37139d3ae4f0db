"""Guards for tests of connections: nothing left behind, the event loop never blocked."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from contextlib import asynccontextmanager
from operator import gt
from typing import TYPE_CHECKING, NamedTuple

import psutil
from aiortc import RTCPeerConnection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Resources(NamedTuple):
    fds: int
    threads: int
    tasks: int
    connections: int


def resources() -> Resources:
    gc.collect()
    connections = sum(isinstance(thing, RTCPeerConnection) for thing in gc.get_objects())
    threads = sum(not thread.name.startswith("asyncio_") for thread in threading.enumerate())     # the loop's own pool
    return Resources(psutil.Process().num_fds(), threads, len(asyncio.all_tasks()), connections)


@asynccontextmanager
async def nothing_left(settle_s: float = 5.0) -> AsyncIterator[None]:
    """What happens inside leaves no descriptor, thread, task or connection, a few seconds later at most."""
    before = resources()
    yield
    end_s = time.monotonic() + settle_s
    while any(map(gt, after := resources(), before)) and time.monotonic() < end_s:
        await asyncio.sleep(0.05)
    assert not any(map(gt, after, before)), f"{before} became {after}"


@asynccontextmanager
async def loop_never_blocked(limit_s: float = 0.25) -> AsyncIterator[None]:
    """The event loop comes round at least every `limit_s`."""
    worst_s = 0.0

    async def watch() -> None:
        nonlocal worst_s
        while True:
            asked_s = time.monotonic()
            await asyncio.sleep(0.01)
            worst_s = max(worst_s, time.monotonic() - asked_s - 0.01)

    task = asyncio.create_task(watch())
    try:
        yield
    finally:
        task.cancel()
    assert worst_s < limit_s
