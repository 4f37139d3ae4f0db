from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from stream.config import WindowConfig
from stream.sampler import cell_at
from stream.windows import WindowGrid

configs = st.builds(
    WindowConfig,
    window_s=st.sampled_from([2.0, 4.0, 10.0]),
    hop_s=st.sampled_from([0.1, 0.25, 0.5, 1.0]),
    sample_rate_hz=st.sampled_from([0.5, 1.0, 2.0, 5.0, 10.0]),
)
phases = st.floats(0, 1, exclude_max=True)
steps = st.lists(st.integers(1, 60), min_size=1, max_size=60)


def cells_of(config: WindowConfig, phase: float, jumps: list[int]) -> list[int]:
    cells = [cell_at(0.0, config.sample_rate_hz, phase)]
    for jump in jumps:
        cells.append(cells[-1] + jump)
    return cells


def test_one_window_per_sample_at_the_defaults() -> None:
    grid = WindowGrid(WindowConfig(), 0.3)
    ends = [[w.end_s for w in grid.completed_by(cell)] for cell in range(-1, 5)]
    assert ends == [[], [0.5], [1.0], [1.5], [2.0], [2.5]]


def test_several_samples_per_hop_close_one_window() -> None:
    grid = WindowGrid(WindowConfig(sample_rate_hz=10, hop_s=0.5), 0.0)
    ends = [w.end_s for cell in range(20) for w in grid.completed_by(cell)]
    assert ends == [0.5, 1.0, 1.5, 2.0]


def test_a_window_slides_over_its_whole_length() -> None:
    grid = WindowGrid(WindowConfig(), 0.0)
    windows = [w for cell in range(40) for w in grid.completed_by(cell)]
    assert [w.wanted for w in windows[-5:]] == [8] * 5
    assert all(w.end_s - w.start_s == 4.0 for w in windows[8:])


def test_a_gap_of_a_million_seconds_costs_few_windows() -> None:
    grid = WindowGrid(WindowConfig(), 0.0)
    grid.completed_by(0)
    windows = grid.completed_by(2_000_000)
    assert 0 < len(windows) < 12
    assert windows[-1].last_cell == 2_000_000


@given(configs, phases, steps)
def test_sequences_and_cells_only_grow(config: WindowConfig, phase: float, jumps: list[int]) -> None:
    grid = WindowGrid(config, phase)
    windows = [w for cell in cells_of(config, phase, jumps) for w in grid.completed_by(cell)]
    sequences = [w.sequence for w in windows]
    assert sequences == sorted(set(sequences))
    assert [w.last_cell for w in windows] == sorted({w.last_cell for w in windows})


@given(configs, phases, st.integers(1, 200))
def test_without_gaps_every_sample_is_in_a_window_and_no_time_is_lost(
    config: WindowConfig, phase: float, count: int
) -> None:
    grid = WindowGrid(config, phase)
    cells = cells_of(config, phase, [1] * count)
    windows = [w for cell in cells for w in grid.completed_by(cell)]
    last = grid.remainder()
    windows += [last] if last is not None else []
    covered = {cell for w in windows for cell in range(w.first_cell, w.last_cell + 1)}
    assert set(cells) <= covered
    assert all(b.first_cell <= a.last_cell + 1 for a, b in itertools.pairwise(windows))


@given(configs, phases, steps)
def test_a_window_is_never_cut_before_its_last_wanted_cell(
    config: WindowConfig, phase: float, jumps: list[int]
) -> None:
    grid = WindowGrid(config, phase)
    for cell in cells_of(config, phase, jumps):
        assert all(w.last_cell <= cell and w.wanted > 0 for w in grid.completed_by(cell))
