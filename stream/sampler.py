"""Which frames are scored: the first frame of every cell of a grid on media time.

The grid is shifted by a phase that follows from stream id and epoch, so that a replay samples the same frames and
an attacker cannot know which frames are looked at without knowing the epoch.
"""

from __future__ import annotations

import hashlib
import math


def phase_of(stream: str, epoch: int) -> float:
    """A number in [0, 1) that is fixed for one epoch of one stream."""
    digest = hashlib.blake2b(f"{stream}/{epoch}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def cell_at(pts_s: float, rate_hz: float, phase: float) -> int:
    """The cell that media time `pts_s` lies in. Cell k starts at (k + phase) / rate_hz."""
    return math.floor(pts_s * rate_hz - phase)


def cell_start_s(cell: int, rate_hz: float, phase: float) -> float:
    """When the cell starts, but never before the media does."""
    return max(0.0, (cell + phase) / rate_hz)


class Sampler:
    """Takes the first frame seen in each cell; late or repeated media times are never taken twice."""

    def __init__(self, rate_hz: float, phase: float) -> None:
        if rate_hz <= 0:
            raise ValueError(f"rate_hz: expected a positive number, got {rate_hz}")
        self._rate_hz = rate_hz
        self._phase = phase
        self._last_cell: int | None = None

    def take(self, pts_s: float) -> int | None:
        """The cell that this frame fills, or None if it is not to be scored. A non-finite time is never taken."""
        if not math.isfinite(pts_s):
            return None
        cell = cell_at(pts_s, self._rate_hz, self._phase)
        if self._last_cell is not None and cell <= self._last_cell:
            return None
        self._last_cell = cell
        return cell
