"""What may be committed: reading has to start anew where the oldest window begins that is not out yet. No I/O."""

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
    """Media before this time is in no window after the one that ends at `end_s`."""
    return max(0.0, end_s + windows.hop_s - windows.window_s)


def committable(next_offset: int, holds: Iterable[int | None]) -> int:
    """The offset to commit for a partition: where its next record is, unless one of its streams still holds an earlier
    one. `holds` has the oldest offset that each stream needs, None for one that needs nothing."""
    return min((hold for hold in holds if hold is not None), default=next_offset)


class OffsetTracker:
    """The places in one epoch of one stream at which reading may start: every picture and segment, and every key frame.

    What is kept grows with what is in a window and in the worker's hands, and with nothing else.
    """

    def __init__(self) -> None:
        self._starts: deque[_Start] = deque()

    @property
    def oldest(self) -> int | None:
        """The offset that must not be committed past; None before the first record."""
        return self._starts[0].offset if self._starts else None

    def took(self, offset: int, pts_s: float, can_start: bool) -> None:
        """The next record of the stream. The first one counts as a start whatever it is."""
        if can_start or not self._starts:
            latest_s = self._starts[-1].pts_s if self._starts else pts_s
            self._starts.append(_Start(offset, max(pts_s, latest_s)))

    def has_before(self, from_s: float) -> bool:
        """Whether `needs` would let go of anything."""
        return len(self._starts) > 1 and self._starts[1].pts_s <= from_s

    def needs(self, from_s: float) -> None:
        """Media from this time on is needed, and what lies behind the last start at or before it is not."""
        while self.has_before(from_s):
            self._starts.popleft()
