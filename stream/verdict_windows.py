"""Verdict windows: begin and end of each window on media time, and the number of samples wanted in it."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from stream.frame_sampler import Pace, wanted_after

if TYPE_CHECKING:
    from stream.config import WindowConfig
    from stream.frame_sampler import SamplingGrid

_ROUND = 9      # digits: sums of products of settings such as 0.1 are not exact


@dataclass(frozen=True, slots=True)
class VerdictWindow:
    """One window: half-open media time [start_s, end_s) in seconds; `wanted` cells of the sampling grid start in it."""

    sequence: int
    start_s: float
    end_s: float
    wanted: int

    def holds(self, time_s: float) -> bool:
        return self.start_s <= round(time_s, _ROUND) < self.end_s


class VerdictWindowCutter:
    """Determines which windows an observed cell completes.

    A window is complete when no wanted cell is left in it. Of the windows that end between two wanted cells, only the
    first is returned: the others would repeat it. After a gap, windows follow while they contain observations, then one
    empty window; the rest of the gap is skipped.
    """

    def __init__(self, config: WindowConfig, grid: SamplingGrid) -> None:
        self._config = config
        self._grid = grid
        self._wanted: deque[int] = deque()
        self._last_sequence = -1
        self._last: tuple[int, int] | None = None       # newest observed cell and its pace

    def completed_by(self, cell: int, pace: int) -> tuple[VerdictWindow, ...]:
        """Returns the windows, in order, that end before the next wanted cell. `cell` never decreases."""
        near, far = self._lost_before(cell, pace)
        windows = []
        for wanted, following in pairwise((*near, cell, wanted_after(cell, pace))):
            if wanted == cell:
                self._wanted.extend(far)
            self._wanted.append(wanted)
            window = self._cut(wanted, following)
            if window is not None:
                windows.append(window)
        self._last = cell, pace
        return tuple(windows)

    def continue_after(self, sequence: int) -> None:
        """Skips windows up to this sequence number, which another process has published."""
        self._last_sequence = sequence

    def remainder(self) -> VerdictWindow | None:
        """Returns the unfinished window with the observations since the last one, at the end of the stream."""
        if self._last is None or self._grid.start_s(self._last[0]) < self._end_s(self._last_sequence):
            return None
        return self._window(self._first_holding(self._last[0]))

    @property
    def oldest_needed_s(self) -> float:
        """No future window contains observations before this media time."""
        return max(0.0, self._end_s(self._last_sequence + 1) - self._config.window_s)

    def _lost_before(self, cell: int, pace: int) -> tuple[list[int], list[int]]:
        """Returns the wanted cells between the last observed one and `cell`, at most a window's worth next to each."""
        if self._last is None:
            return [], []
        last, last_pace = self._last
        step = max(pace, last_pace)
        lost = range(wanted_after(last, step), cell, step)
        span = math.ceil(self._config.window_s * self._grid.base_rate_hz * Pace.BASE / step) + 1
        return list(lost[:span]), list(lost[max(span, len(lost) - span):])

    def _cut(self, wanted: int, following: int) -> VerdictWindow | None:
        sequence = self._first_holding(wanted)
        if self._end_s(sequence) > round(self._grid.start_s(following), _ROUND):
            return None
        window = self._window(sequence)
        self._last_sequence = sequence
        while self._wanted and self._grid.start_s(self._wanted[0]) < self.oldest_needed_s:
            self._wanted.popleft()
        return window

    def _first_holding(self, cell: int) -> int:
        """Returns the first pending window that ends after this cell's start."""
        return max(self._last_sequence + 1, math.floor(round(self._grid.start_s(cell) / self._config.hop_s, _ROUND)))

    def _window(self, sequence: int) -> VerdictWindow:
        end_s = self._end_s(sequence)
        start_s = max(0.0, round(end_s - self._config.window_s, _ROUND))
        bare = VerdictWindow(sequence, start_s, end_s, 0)
        return VerdictWindow(
            sequence, start_s, end_s, sum(bare.holds(self._grid.start_s(cell)) for cell in self._wanted)
        )

    def _end_s(self, sequence: int) -> float:
        return round((sequence + 1) * self._config.hop_s, _ROUND)
