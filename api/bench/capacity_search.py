"""The largest count that holds: doubling or halving until the bars are met on one side only, then bisection."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

MOST = 512
_CLOSE_ENOUGH = 0.05


async def find_largest(holds: Callable[[int], Awaitable[bool]], start: int, tries: int = 10) -> int:
    """The largest count for which `holds` said yes within that many tries, to about 5 %; 0 if it never did."""
    low, high = 0, MOST + 1
    count = max(1, min(start, MOST))
    for _ in range(tries):
        if await holds(count):
            low = count
        else:
            high = count
        if high - low <= max(1, _CLOSE_ENOUGH * high):
            break
        count = _next(low, high)
    return low


def _next(low: int, high: int) -> int:
    if high > MOST:
        return min(2 * low, MOST)
    return max(1, high // 2) if low == 0 else (low + high) // 2
