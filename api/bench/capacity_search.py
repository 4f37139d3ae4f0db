"""Capacity search: finds the largest sustained number of calls by doubling or halving, then bisection."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

MAX_CALLS = 512
_TOLERANCE = 0.05


async def find_largest(holds: Callable[[int], Awaitable[bool]], start: int, tries: int = 10) -> int:
    """Returns the largest count for which `holds` returned true, to about 5 %, within `tries` runs; 0 if none."""
    low, high = 0, MAX_CALLS + 1
    count = max(1, min(start, MAX_CALLS))
    for _ in range(tries):
        if await holds(count):
            low = count
        else:
            high = count
        if high - low <= max(1, _TOLERANCE * high):
            break
        count = _next(low, high)
    return low


def _next(low: int, high: int) -> int:
    if high > MAX_CALLS:
        return min(2 * low, MAX_CALLS)
    return max(1, high // 2) if low == 0 else (low + high) // 2
