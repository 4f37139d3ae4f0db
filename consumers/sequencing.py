"""Sequencing: whether a record is next, repeated, stale or of a new epoch. No I/O."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from consumers.media_contract import Stamp


class Turn(Enum):
    """Position of a record in its stream. `NEXT` may follow a gap; `REPEAT` and `STALE` are dropped."""

    NEXT = "next"
    NEW_EPOCH = "new_epoch"
    REPEAT = "repeat"
    STALE = "stale"


class Step(NamedTuple):
    """Position of a record, and how many records are `missing` before it."""

    turn: Turn
    missing: int = 0


class StreamSequence:
    """Remembers the newest record of one stream.

    The first record starts an epoch at any sequence number, so that reading can begin anywhere. Records of an ended
    epoch are stale.
    """

    def __init__(self, ended_epoch: int | None = None) -> None:
        self._epoch: int | None = None
        self._sequence = -1
        self._ended = -1 if ended_epoch is None else ended_epoch

    def take(self, stamp: Stamp) -> Step:
        """Classifies a record. Repeated and stale records change no state."""
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
        """Ends the current epoch; its later records are stale."""
        if self._epoch is not None:
            self._ended, self._epoch = max(self._ended, self._epoch), None
