"""What a record means for its stream, by epoch and sequence alone. No I/O."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from consumers.media_contract import Stamp


class Turn(Enum):
    """`NEXT` goes on (perhaps behind a gap); `NEW_EPOCH` starts anew; `REPEAT` and `STALE` are to be dropped."""

    NEXT = "next"
    NEW_EPOCH = "new_epoch"
    REPEAT = "repeat"
    STALE = "stale"


class Step(NamedTuple):
    """`missing` records lie between this one and the one before it."""

    turn: Turn
    missing: int = 0


class StreamSequence:
    """Remembers the newest record of one stream.

    The first record ever starts an epoch at whatever sequence it has, so that reading can begin anywhere. A record of
    an epoch that is over is stale.
    """

    def __init__(self, ended_epoch: int | None = None) -> None:
        self._epoch: int | None = None
        self._sequence = -1
        self._ended = -1 if ended_epoch is None else ended_epoch

    def take(self, stamp: Stamp) -> Step:
        """What to do with this record. Only a record that is used moves anything."""
        if stamp.epoch <= self._ended or (self._epoch is not None and stamp.epoch < self._epoch):
            return Step(Turn.STALE)
        if stamp.epoch != self._epoch:
            self._epoch, self._sequence = stamp.epoch, stamp.sequence
            return Step(Turn.NEW_EPOCH)
        if stamp.sequence <= self._sequence:
            return Step(Turn.REPEAT)
        missing = stamp.sequence - self._sequence - 1
        self._sequence = stamp.sequence
        return Step(Turn.NEXT, missing)

    def end(self) -> None:
        """The epoch at hand is over; nothing of it counts any more."""
        if self._epoch is not None:
            self._ended, self._epoch = max(self._ended, self._epoch), None
