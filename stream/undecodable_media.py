"""Detection of media that arrives but cannot be decoded, by the counts of a stream. No clock, no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream.types import DropCause, FrameCounts

if TYPE_CHECKING:
    from collections.abc import Mapping

# A lost packet costs about a second until the next key frame; this is longer.
UNDECODABLE_AFTER_S = 2.5

_CAUSES = (DropCause.DECODE_ERROR, DropCause.TOO_LARGE, DropCause.NO_KEYFRAME)


class UndecodableMedia:
    """Follows the counts of one stream. `cause` is set while units are refused and none is decoded."""

    def __init__(self) -> None:
        self.cause: DropCause | None = None
        self._decoded = 0
        self._dropped_before: Mapping[str, int] = {}    # when the latest picture was decoded
        self._dropped: Mapping[str, int] = {}
        self._since_s: float | None = None

    def update(self, counts: FrameCounts, now_s: float) -> bool:
        """Takes the counts at `now_s`, monotonic seconds. Returns whether more units were refused since the last call.

        It does so only while `cause` is set.
        """
        grown = any(counts.dropped.get(cause, 0) > self._dropped.get(cause, 0) for cause in _CAUSES)
        self._dropped = counts.dropped
        if counts.decoded > self._decoded:
            self._decoded, self._dropped_before = counts.decoded, counts.dropped
            self._since_s = self.cause = None
            return False
        if not grown:
            return False
        if self._since_s is None:
            self._since_s = now_s
        if now_s - self._since_s < UNDECODABLE_AFTER_S:
            return False
        self.cause = self._first_cause()
        return True

    @staticmethod
    def is_whole(counts: FrameCounts) -> bool:
        """Returns whether nothing of a stream was decoded although units were tried."""
        return not counts.decoded and any(counts.dropped.get(cause) for cause in _CAUSES)

    def _first_cause(self) -> DropCause:
        """Returns the cause to tell: units without a key frame follow a unit that failed for another reason."""
        refused = (cause for cause in _CAUSES if self._dropped.get(cause, 0) > self._dropped_before.get(cause, 0))
        return next(refused, DropCause.DECODE_ERROR)
