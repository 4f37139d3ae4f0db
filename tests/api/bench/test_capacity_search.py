"""The search for the largest count that holds."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from api.bench.capacity_search import MAX_CALLS, find_largest


def search(limit: int, start: int, tries: int = 30) -> tuple[int, list[int]]:
    """The answer where everything up to `limit` holds, and what was tried."""
    tried: list[int] = []

    async def holds(count: int) -> bool:
        tried.append(count)
        return count <= limit

    return asyncio.run(find_largest(holds, start, tries)), tried


@given(st.integers(0, MAX_CALLS), st.integers(1, MAX_CALLS))
def test_it_finds_the_limit_to_five_percent_from_wherever_it_starts(limit: int, start: int) -> None:
    found, tried = search(limit, start)
    assert found <= limit <= found + max(1, 0.05 * (limit + 1)) + 1
    assert found == 0 or found in tried
    assert len(tried) == len(set(tried))


def test_it_doubles_then_halves_the_distance() -> None:
    assert search(22, 10) == (22, [10, 20, 40, 30, 25, 22, 23])


def test_it_goes_down_where_the_start_does_not_hold() -> None:
    assert search(3, 20) == (3, [20, 10, 5, 2, 3, 4])


def test_it_ends_after_the_tries_with_the_best_that_held() -> None:
    assert search(22, 10, tries=4) == (20, [10, 20, 40, 30])


def test_nothing_may_hold() -> None:
    assert search(0, 4) == (0, [4, 2, 1])
