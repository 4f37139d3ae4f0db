"""Where windows begin and end: a grid on media time, and the sampling cells that each window wants."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stream.sampler import cell_at

if TYPE_CHECKING:
    from stream.config import WindowConfig

_ROUND = 9      # digits; grid times are products of settings such as 0.1, whose sums are not exact


@dataclass(frozen=True, slots=True)
class Window:
    """One window: half-open media time [start_s, end_s) and its wanted cells `first_cell`..`last_cell`, inclusive."""

    sequence: int
    start_s: float
    end_s: float
    first_cell: int
    last_cell: int

    @property
    def wanted(self) -> int:
        return max(0, self.last_cell - self.first_cell + 1)


class WindowGrid:
    """Tells which windows an observed cell completes.

    Of the windows that end between two neighbouring cells only the first is cut: the others would repeat it. After a
    gap, windows that still hold something observed are cut, then one empty one; the rest of the gap is skipped.
    """

    def __init__(self, config: WindowConfig, phase: float) -> None:
        self._config = config
        self._phase = phase
        self._next_cell = cell_at(0.0, config.sample_rate_hz, phase)
        self._last_sequence = -1
        self._closed_cell = self._next_cell - 1
        self._last_observed: int | None = None

    def window_at(self, sequence: int) -> Window:
        """The window that ends at hop number `sequence + 1`."""
        end_s = round((sequence + 1) * self._config.hop_s, _ROUND)
        start_s = max(0.0, round(end_s - self._config.window_s, _ROUND))
        first = cell_at(0.0, self._config.sample_rate_hz, self._phase) if start_s == 0 else self._first_cell(start_s)
        return Window(sequence, start_s, end_s, first, self._first_cell(end_s) - 1)

    def completed_by(self, cell: int) -> tuple[Window, ...]:
        """The windows, in order, whose last wanted cell is now observed or lost. `cell` only ever grows."""
        completed = []
        for last_cell in self._cells_to_close(cell):
            window = self._ending_at(last_cell)
            if window is not None:
                self._last_sequence, self._closed_cell = window.sequence, window.last_cell
                completed.append(window)
        self._next_cell = max(self._next_cell, cell + 1)
        self._last_observed = cell
        return tuple(completed)

    def remainder(self) -> Window | None:
        """The unfinished window that holds what was observed since the last cut, for the end of the stream."""
        if self._last_observed is None or self._last_observed <= self._closed_cell:
            return None
        return self.window_at(self._last_sequence + 1)

    def _cells_to_close(self, cell: int) -> range | tuple[int, ...]:
        span = math.ceil(self._config.window_s * self._config.sample_rate_hz) + 1
        if cell - self._next_cell <= span:
            return range(self._next_cell, cell + 1)
        return (*range(self._next_cell, self._next_cell + span), cell)

    def _ending_at(self, last_cell: int) -> Window | None:
        """The first window not yet cut whose last wanted cell is this one."""
        boundary_s = max(0.0, (last_cell + self._phase) / self._config.sample_rate_hz)
        sequence = max(self._last_sequence + 1, math.floor(round(boundary_s / self._config.hop_s, _ROUND)) - 1, 0)
        for candidate in (sequence, sequence + 1, sequence + 2):
            window = self.window_at(candidate)
            if window.last_cell == last_cell and window.sequence > self._last_sequence:
                return window
        return None

    def _first_cell(self, time_s: float) -> int:
        """The first cell that starts at or after `time_s`."""
        return math.ceil(round(time_s * self._config.sample_rate_hz - self._phase, _ROUND))
