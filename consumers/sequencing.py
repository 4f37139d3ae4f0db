"""Record sequencing: detects repeats, gaps and new epochs by epoch and sequence number. No I/O."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from consumers.media_contract import RecordIdentity


class RecordOrder(Enum):
    """`NEXT` continues the epoch, perhaps after a gap; `NEW_EPOCH` starts one; drop `REPEAT` and `STALE` records."""

    NEXT = "next"
    NEW_EPOCH = "new_epoch"
    REPEAT = "repeat"
    STALE = "stale"


class SequenceCheck(NamedTuple):
    """The order of a record; `missing` is the number of records lost before it."""

    order: RecordOrder
    missing: int = 0


class StreamSequence:
    """Tracks the newest record of one stream.

    The first record starts an epoch at any sequence number, because reading may begin mid-stream. Records of an epoch
    that is over are stale.
    """

    def __init__(self, ended_epoch: int | None = None) -> None:
        self._epoch: int | None = None
        self._sequence = -1
        self._ended = -1 if ended_epoch is None else ended_epoch

    def take(self, identity: RecordIdentity) -> SequenceCheck:
        """Classifies the next record. Repeats and stale records leave the state unchanged."""
        if identity.epoch <= self._ended or (self._epoch is not None and identity.epoch < self._epoch):
            return SequenceCheck(RecordOrder.STALE)
        if identity.epoch != self._epoch:
            self._epoch, self._sequence = identity.epoch, identity.sequence
            return SequenceCheck(RecordOrder.NEW_EPOCH)
        if identity.sequence <= self._sequence:
            return SequenceCheck(RecordOrder.REPEAT)
        missing = identity.sequence - self._sequence - 1
        self._sequence = identity.sequence
        return SequenceCheck(RecordOrder.NEXT, missing)

    def end(self) -> None:
        """Ends the current epoch; its records are stale from now on."""
        if self._epoch is not None:
            self._ended, self._epoch = max(self._ended, self._epoch), None
