from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.frame_sampler import Pace, Sampler, SamplingGrid, phase_of, rate_hz_of, wanted_after, wanted_at_or_before

rates = st.floats(0.2, 30)
phases = st.floats(0, 1, exclude_max=True)
paces = st.sampled_from(list(Pace))


def taken(sampler: Sampler, times: list[float]) -> list[float]:
    return [t for t in times if sampler.take(t) is not None]


def frames(seconds: float, fps: int = 30) -> list[float]:
    return [n / fps for n in range(round(seconds * fps))]


@pytest.mark.parametrize("phase", [0.0, 0.3, 0.999])
def test_the_first_frame_is_always_taken(phase: float) -> None:
    assert Sampler(SamplingGrid(2.0, phase)).take(0.0) is not None


def test_thirty_frames_a_second_at_two_samples_a_second() -> None:
    assert taken(Sampler(SamplingGrid(2.0, 0.5)), frames(5)) == pytest.approx(
        [0.0, *(0.25 + k / 2 for k in range(10))], abs=1 / 30
    )


@pytest.mark.parametrize(("pace", "rate_hz"), [(Pace.FAST, 5), (Pace.BASE, 2), (Pace.HALF, 1), (Pace.QUARTER, 0.5)])
def test_each_pace_has_its_sampling_rate(pace: Pace, rate_hz: float) -> None:
    assert rate_hz_of(pace, 2.0) == pytest.approx(rate_hz)
    assert len(taken(Sampler(SamplingGrid(2.0, 0.0), pace), frames(20))) == pytest.approx(20 * rate_hz, abs=1)


def test_changing_the_pace_neither_repeats_nor_skips_a_wanted_frame() -> None:
    sampler = Sampler(SamplingGrid(2.0, 0.0))
    before = taken(sampler, frames(2))
    sampler.pace = Pace.FAST
    during = taken(sampler, [t for t in frames(4) if t >= 2])
    sampler.pace = Pace.BASE
    after = taken(sampler, [t for t in frames(6) if t >= 4])
    assert before == pytest.approx([0, 0.5, 1, 1.5], abs=1 / 30)
    assert during == pytest.approx([2 + k / 5 for k in range(10)], abs=1 / 30)
    assert after == pytest.approx([4, 4.5, 5, 5.5], abs=1 / 30)


@given(rates, phases, paces, st.lists(st.floats(0, 1000), min_size=1, max_size=200))
def test_no_cell_is_filled_twice_and_the_rate_is_kept(
    rate_hz: float, phase: float, pace: Pace, times: list[float]
) -> None:
    sampler = Sampler(SamplingGrid(rate_hz, phase), pace)
    cells = [c for t in times if (c := sampler.take(t)) is not None]
    assert cells == sorted(set(cells))
    assert len(cells) <= max(times) * rate_hz_of(pace, rate_hz) + 2


@given(rates, phases, st.integers(5, 10_000))
def test_a_cell_starts_where_cell_at_says(rate_hz: float, phase: float, cell: int) -> None:
    grid = SamplingGrid(rate_hz, phase)
    start_s = grid.start_s(cell)
    assert grid.cell_at(start_s + 1e-6) in (cell, cell + 1)
    assert grid.cell_at(start_s - 1e-6) in (cell - 1, cell)


@given(st.integers(-100, 10**9), paces)
def test_wanted_cells_before_and_after_are_one_pace_apart(cell: int, pace: Pace) -> None:
    assert wanted_at_or_before(cell, pace) <= cell < wanted_after(cell, pace)
    assert wanted_after(cell, pace) - wanted_at_or_before(cell, pace) == pace


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_non_finite_time_is_never_sampled(bad: float) -> None:
    assert Sampler(SamplingGrid(2.0, 0.0)).take(bad) is None


def test_a_late_frame_is_not_taken() -> None:
    assert taken(Sampler(SamplingGrid(2.0, 0.0)), [0.0, 2.1, 1.1, 2.2, 2.5]) == [0.0, 2.1, 2.5]


def test_a_rate_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="base_rate_hz"):
        SamplingGrid(0.0, 0.0)


def test_the_phase_is_fixed_per_epoch() -> None:
    assert phase_of("a", 1) == phase_of("a", 1)
    assert len({phase_of("a", n) for n in range(100)}) == 100
    assert all(0 <= phase_of("a", n) < 1 for n in range(100))
