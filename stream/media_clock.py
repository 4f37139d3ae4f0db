"""Media clock: one steady media time per epoch, whatever the sender's timestamps do."""

from __future__ import annotations

import math

_BACKWARD_S = 1.0       # frame reordering moves a time back by less than this
_FORWARD_S = 60.0       # a silent stream ends long before this
_NOMINAL_FRAME_S = 1 / 30


class MediaClock:
    """Shifts media times so that they start at 0 and never jump.

    A jump back by more than a second, or ahead by more than a minute, means that the sender's clock restarted. The
    frame is then placed one nominal frame after the newest, and later frames keep their distance to it.
    """

    def __init__(self) -> None:
        self._offset_s: float | None = None
        self._newest_s = 0.0

    def place(self, pts_s: float) -> float:
        """Returns the media time of this frame in seconds, at least 0. A non-finite time counts as a jump."""
        if not math.isfinite(pts_s):
            return self._advance(self._newest_s + _NOMINAL_FRAME_S)
        if self._offset_s is None:
            self._offset_s = -pts_s
        placed_s = pts_s + self._offset_s
        if not self._newest_s - _BACKWARD_S <= placed_s <= self._newest_s + _FORWARD_S:
            placed_s = self._newest_s + _NOMINAL_FRAME_S
            self._offset_s = placed_s - pts_s
        return self._advance(max(0.0, placed_s))

    def _advance(self, placed_s: float) -> float:
        self._newest_s = max(self._newest_s, placed_s)
        return placed_s
