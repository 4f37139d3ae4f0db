"""Computes committable offsets: a successor restarts at the earliest window not yet published. No I/O."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stream.config import WindowConfig


class _Start(NamedTuple):
    """A record at which decoding can start, and its media time."""

    offset: int
    pts_s: float


def needed_from_s(end_s: float, windows: WindowConfig) -> float:
    """Returns the media time at which the window after the one that ends at `end_s` begins."""
    return max(0.0, end_s + windows.hop_s - windows.window_s)


def committable(next_offset: int, needed: Iterable[int | None]) -> int:
    """Returns the offset to commit for a partition: the smallest offset that a stream needs, or else `next_offset`.

    `needed` holds the oldest needed offset of each stream, None for a stream that needs nothing.
    """
    return min((offset for offset in needed if offset is not None), default=next_offset)


class OffsetTracker:
    """Tracks the records of one epoch at which decoding can start: pictures, segments and key frames.

    Its size is bounded by the records of a window plus those in flight to the worker.
    """

    def __init__(self) -> None:
        self._starts: deque[_Start] = deque()

    @property
    def oldest(self) -> int | None:
        """The oldest needed offset, beyond which nothing may be committed; None before the first record."""
        return self._starts[0].offset if self._starts else None

    def add(self, offset: int, pts_s: float, can_start: bool) -> None:
        """Adds the next record of the stream. The first record always counts as a start."""
        if can_start or not self._starts:
            latest_s = self._starts[-1].pts_s if self._starts else pts_s
            self._starts.append(_Start(offset, max(pts_s, latest_s)))

    def can_release_before(self, from_s: float) -> bool:
        """Returns whether `release_before` would release an offset."""
        return len(self._starts) > 1 and self._starts[1].pts_s <= from_s

    def release_before(self, from_s: float) -> None:
        """Releases all starts before the last one at or before `from_s`: later media needs that one for decoding."""
        while self.can_release_before(from_s):
            self._starts.popleft()
