from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from stream.config import WindowConfig
from stream.frame_sampler import Pace, SamplingGrid, wanted_after
from stream.verdict_windows import VerdictWindow, VerdictWindowCutter

configs = st.builds(
    WindowConfig,
    window_s=st.sampled_from([2.0, 4.0, 10.0]),
    hop_s=st.sampled_from([0.1, 0.25, 0.5, 1.0]),
    sample_rate_hz=st.sampled_from([0.5, 1.0, 2.0, 5.0]),
)
phases = st.floats(0, 1, exclude_max=True)
steps = st.lists(st.tuples(st.integers(1, 30), st.sampled_from(list(Pace))), min_size=1, max_size=60)


def cells_of(grid: SamplingGrid, jumps: list[tuple[int, Pace]]) -> list[tuple[int, Pace]]:
    """Returns observed cells: each jump skips this many wanted cells at its pace."""
    pace = Pace.BASE
    cells = [(grid.cell_at(0.0) // pace * pace, pace)]
    for jump, pace in jumps:
        cells.append((wanted_after(cells[-1][0], pace) + (jump - 1) * pace, pace))
    return cells


def cut_all(config: WindowConfig, phase: float, jumps: list[tuple[int, Pace]]) -> list[VerdictWindow]:
    grid = SamplingGrid(config.sample_rate_hz, phase)
    cutter = VerdictWindowCutter(config, grid)
    return [window for cell, pace in cells_of(grid, jumps) for window in cutter.completed_by(cell, pace)]


def steady(count: int, pace: Pace = Pace.BASE) -> list[tuple[int, Pace]]:
    return [(1, pace)] * count


def test_one_window_per_sample_at_the_defaults() -> None:
    assert [w.end_s for w in cut_all(WindowConfig(), 0.3, steady(5))] == [0.5, 1.0, 1.5, 2.0, 2.5]


def test_several_samples_per_hop_close_one_window() -> None:
    assert [w.end_s for w in cut_all(WindowConfig(), 0.0, steady(10, Pace.FAST))] == [0.5, 1.0, 1.5, 2.0]


def test_a_window_slides_over_its_whole_length() -> None:
    windows = cut_all(WindowConfig(), 0.0, steady(40))
    assert [w.wanted for w in windows[-5:]] == [8] * 5
    assert all(w.end_s - w.start_s == 4.0 for w in windows[8:])


def test_at_a_slower_pace_fewer_samples_are_wanted() -> None:
    windows = cut_all(WindowConfig(), 0.0, steady(20) + steady(10, Pace.QUARTER))
    assert windows[-1].wanted == 2


def test_a_gap_of_a_million_seconds_costs_few_windows_and_counts_as_lost() -> None:
    windows = cut_all(WindowConfig(), 0.0, [*steady(8), (2_000_000, Pace.BASE)])
    assert len(windows) < 24
    assert windows[-1].wanted == 8


@given(configs, phases, steps)
def test_sequences_grow_and_every_window_has_wanted_cells(
    config: WindowConfig, phase: float, jumps: list[tuple[int, Pace]]
) -> None:
    windows = cut_all(config, phase, jumps)
    assert all(a.sequence < b.sequence for a, b in pairwise(windows))
    assert all(window.wanted > 0 for window in windows)
    assert all(window.end_s == (window.sequence + 1) * config.hop_s for window in windows) or config.hop_s == 0.1


@given(configs, phases, st.integers(1, 200), st.sampled_from(list(Pace)))
def test_without_gaps_every_sample_is_in_a_window_and_no_time_is_lost(
    config: WindowConfig, phase: float, count: int, pace: Pace
) -> None:
    grid = SamplingGrid(config.sample_rate_hz, phase)
    cutter = VerdictWindowCutter(config, grid)
    cells = cells_of(grid, steady(count, pace))
    windows = [window for cell, at in cells for window in cutter.completed_by(cell, at)]
    last = cutter.remainder()
    windows += [last] if last is not None else []
    if config.window_s * config.sample_rate_hz * Pace.BASE / pace >= 1:
        for cell, _ in cells:
            assert any(window.holds(grid.start_s(cell)) for window in windows)


@given(configs, phases, steps)
def test_a_window_completes_only_when_no_wanted_cell_is_left(
    config: WindowConfig, phase: float, jumps: list[tuple[int, Pace]]
) -> None:
    grid = SamplingGrid(config.sample_rate_hz, phase)
    cutter = VerdictWindowCutter(config, grid)
    for cell, pace in cells_of(grid, jumps):
        for window in cutter.completed_by(cell, pace):
            assert window.end_s <= grid.start_s(wanted_after(cell, pace)) + 1e-6
