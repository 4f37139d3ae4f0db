"""Frame sampler: selects the first frame after every wanted point of a grid on media time.

The grid is fine, so that the pace can change without moving it. At the base pace every fifth cell is wanted; faster,
every second; slower, every tenth or twentieth. A phase derived from stream id and epoch shifts the grid. So a replay
samples the same frames, and a sender cannot predict which frames are sampled without knowing the epoch.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from enum import IntEnum

_CELLS_PER_SAMPLE = 5


class Pace(IntEnum):
    """Sampling density: the number of grid cells per wanted frame. At a base rate of 2 Hz: 5, 2, 1 and 0.5
    samples/s."""

    FAST = 2
    BASE = 5
    HALF = 10
    QUARTER = 20


def rate_hz_of(pace: int, base_rate_hz: float) -> float:
    """Returns the samples per second at this pace."""
    return base_rate_hz * _CELLS_PER_SAMPLE / pace


def phase_of(stream: str, epoch: int) -> float:
    """Returns a number in [0, 1) that is fixed for one epoch of one stream."""
    digest = hashlib.blake2b(f"{stream}/{epoch}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


@dataclass(frozen=True, slots=True)
class SamplingGrid:
    """Cells of equal length; `phase` in [0, 1) shifts them by that share of the time between two base samples."""

    base_rate_hz: float
    phase: float

    def __post_init__(self) -> None:
        if self.base_rate_hz <= 0:
            raise ValueError(f"base_rate_hz: expected a positive number, got {self.base_rate_hz}")

    def cell_at(self, pts_s: float) -> int:
        """Returns the cell that contains media time `pts_s`."""
        return math.floor((pts_s * self.base_rate_hz - self.phase) * _CELLS_PER_SAMPLE)

    def start_s(self, cell: int) -> float:
        """Returns the start of the cell in seconds, at least 0."""
        return max(0.0, (cell / _CELLS_PER_SAMPLE + self.phase) / self.base_rate_hz)


def wanted_at_or_before(cell: int, pace: int) -> int:
    """Returns the last wanted cell up to and including `cell`."""
    return cell // pace * pace


def wanted_after(cell: int, pace: int) -> int:
    """Returns the first wanted cell after `cell`."""
    return (cell // pace + 1) * pace


class Sampler:
    """Selects the first frame at or after each wanted cell. Late and repeated media times are never selected."""

    def __init__(self, grid: SamplingGrid, pace: int = Pace.BASE) -> None:
        self.pace = pace
        self._grid = grid
        self._last: int | None = None

    def take(self, pts_s: float) -> int | None:
        """Returns the wanted cell that this frame fills, or None if the frame is not selected. Non-finite times never
        are.

        The first frame is always selected; its cell may lie before the start of the media.
        """
        if not math.isfinite(pts_s):
            return None
        wanted = wanted_at_or_before(self._grid.cell_at(pts_s), self.pace)
        if self._last is not None and wanted <= self._last:
            return None
        self._last = wanted
        return wanted
