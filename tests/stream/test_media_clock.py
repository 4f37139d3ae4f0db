from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.media_clock import MediaClock


def test_time_starts_at_zero_and_keeps_intervals() -> None:
    timeline = MediaClock()
    assert [timeline.place(t) for t in (100.0, 100.04, 100.12)] == pytest.approx([0.0, 0.04, 0.12])


def test_reordered_times_stay_as_they_are() -> None:
    timeline = MediaClock()
    assert [timeline.place(t) for t in (5.0, 5.3, 5.1)] == pytest.approx([0.0, 0.3, 0.1])


@pytest.mark.parametrize("jump_s", [-13.3 * 3600, 13.3 * 3600, 1e6, math.nan, math.inf])
def test_a_jump_is_closed(jump_s: float) -> None:
    timeline = MediaClock()
    timeline.place(10.0)
    placed = timeline.place(10.0 + jump_s)
    assert placed == pytest.approx(1 / 30)
    if math.isfinite(jump_s):
        assert timeline.place(10.5 + jump_s) == pytest.approx(placed + 0.5, abs=1e-6)


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=100))
def test_media_time_is_never_negative_and_never_jumps(times: list[float]) -> None:
    timeline, newest = MediaClock(), 0.0
    for time in times:
        placed = timeline.place(time)
        assert 0.0 <= placed <= newest + 60.0
        newest = max(newest, placed)
