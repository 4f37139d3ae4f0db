"""Computes committable offsets: a successor restarts at the earliest window not yet published. No I/O."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stream.config import WindowConfig


class _Start(NamedTuple):
    offset: int
    pts_s: float


def needed_from_s(end_s: float, windows: WindowConfig) -> float:
    """Returns the start of the media, in seconds, that windows after the one ending at `end_s` need."""
    return max(0.0, end_s + windows.hop_s - windows.window_s)


def committable(next_offset: int, holds: Iterable[int | None]) -> int:
    """Returns the offset to commit for a partition: the oldest in `holds`, or `next_offset` if there is none.

    `holds` has the oldest offset that each stream needs, None for a stream that needs nothing.
    """
    return min((hold for hold in holds if hold is not None), default=next_offset)


class OffsetTracker:
    """Offsets in one epoch of one stream at which decoding can start: stills, segments and key frames.

    Its size is bounded by the open windows and the media in flight in the worker.
    """

    def __init__(self) -> None:
        self._starts: deque[_Start] = deque()

    @property
    def oldest(self) -> int | None:
        """The offset that must not be committed past; None before the first record."""
        return self._starts[0].offset if self._starts else None

    def took(self, offset: int, pts_s: float, can_start: bool) -> None:
        """Adds the next record of the stream. The first one always counts as a start."""
        if can_start or not self._starts:
            latest_s = self._starts[-1].pts_s if self._starts else pts_s
            self._starts.append(_Start(offset, max(pts_s, latest_s)))

    def has_before(self, from_s: float) -> bool:
        """Returns whether `needs` would release an offset."""
        return len(self._starts) > 1 and self._starts[1].pts_s <= from_s

    def needs(self, from_s: float) -> None:
        """Releases all starts before the last one at or before `from_s` (media time)."""
        while self.has_before(from_s):
            self._starts.popleft()
