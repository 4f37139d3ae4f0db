"""The guard of the event loop: it sees what blocks the loop, and lets a machine have other things to do."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.api.guards import loop_never_blocked
from tests.machine import crowd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LIMIT_S = 0.25


def compute(cpu_s: float) -> None:
    end_s = time.thread_time() + cpu_s
    while time.thread_time() < end_s:
        pass


@contextmanager
def one_crowded_core() -> Iterator[None]:
    """This thread shares one core with processes that never rest."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        with crowd(min(allowed)):
            yield
    finally:
        os.sched_setaffinity(0, allowed)


async def guarded(work: Callable[[float], None], seconds: float) -> float:
    """Does the work in the loop, under the guard; how long it took by the clock."""
    async with loop_never_blocked(LIMIT_S):
        await asyncio.sleep(0.5)        # until all hogs run
        began_s = time.monotonic()
        work(seconds)
        return time.monotonic() - began_s


@pytest.mark.parametrize("work", [time.sleep, compute])
async def test_blocking_calls_in_the_loop_are_detected(work: Callable[[float], None]) -> None:
    with pytest.raises(AssertionError, match="did not come round"):
        await guarded(work, 2 * LIMIT_S)


async def test_waiting_for_a_busy_core_is_not_counted_as_blocking() -> None:
    with one_crowded_core():
        assert await guarded(compute, LIMIT_S / 3) > LIMIT_S, "the core was not crowded; this shows nothing"


async def test_blocking_calls_are_detected_on_a_busy_core() -> None:
    with one_crowded_core(), pytest.raises(AssertionError, match="did not come round"):
        await guarded(time.sleep, 2 * LIMIT_S)
