from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.sampler import Sampler, cell_at, cell_start_s, phase_of

rates = st.floats(0.2, 30)
phases = st.floats(0, 1, exclude_max=True)


def test_the_first_frame_is_always_taken() -> None:
    assert Sampler(2.0, 0.0).take(0.0) == 0
    assert Sampler(2.0, 0.7).take(0.0) == -1


def test_thirty_frames_a_second_at_two_samples_a_second() -> None:
    sampler = Sampler(2.0, 0.5)
    taken = [n / 30 for n in range(150) if sampler.take(n / 30) is not None]
    assert taken == pytest.approx([0.0, *(0.25 + k / 2 for k in range(10))], abs=1 / 30)


@given(rates, phases, st.lists(st.floats(0, 1000), min_size=1, max_size=200))
def test_no_cell_is_filled_twice_and_the_rate_is_kept(rate_hz: float, phase: float, times: list[float]) -> None:
    sampler = Sampler(rate_hz, phase)
    cells = [c for t in times if (c := sampler.take(t)) is not None]
    assert cells == sorted(set(cells))
    assert len(cells) <= max(times) * rate_hz + 2


@given(rates, phases, st.integers(0, 10_000))
def test_a_cell_starts_where_cell_at_says(rate_hz: float, phase: float, cell: int) -> None:
    start_s = cell_start_s(cell, rate_hz, phase)
    assert cell_at(start_s + 1e-6, rate_hz, phase) in (cell, cell + 1)
    assert cell_at(start_s - 1e-6, rate_hz, phase) in (cell - 1, cell)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_time_that_is_no_number_is_never_taken(bad: float) -> None:
    assert Sampler(2.0, 0.0).take(bad) is None


def test_a_late_frame_is_not_taken() -> None:
    sampler = Sampler(2.0, 0.0)
    assert [sampler.take(t) for t in (0.0, 2.1, 1.1, 2.2, 2.5)] == [0, 4, None, None, 5]


def test_a_rate_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="rate_hz"):
        Sampler(0.0, 0.0)


def test_the_phase_is_fixed_per_epoch() -> None:
    assert phase_of("a", 1) == phase_of("a", 1)
    assert len({phase_of("a", n) for n in range(100)}) == 100
    assert all(0 <= phase_of("a", n) < 1 for n in range(100))
