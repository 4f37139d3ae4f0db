"""Records that were in a worker's hands when it crashed: fed again by themselves, and given up at the third time.

No I/O.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from consumers.broker import PartitionId

TRIES = 3
_KEPT = 4096


class PoisonPills:
    """Outlives the streams that the records belong to."""

    def __init__(self) -> None:
        self._crashes: OrderedDict[tuple[PartitionId, int], int] = OrderedDict()

    def crashed(self, place: PartitionId, offsets: Iterable[int]) -> None:
        """A worker crashed on one of these records."""
        for offset in offsets:
            self._crashes[place, offset] = self._crashes.pop((place, offset), 0) + 1
        while len(self._crashes) > _KEPT:
            self._crashes.popitem(last=False)

    def is_suspect(self, place: PartitionId, offset: int) -> bool:
        """Whether this record is to be fed with nothing beside it, so that it is clear on what a worker crashes."""
        return (place, offset) in self._crashes

    def is_condemned(self, place: PartitionId, offset: int) -> bool:
        """Whether workers crashed on it too often for another try."""
        return self._crashes.get((place, offset), 0) >= TRIES

    def clear(self, place: PartitionId, offset: int) -> None:
        """A worker survived this record."""
        self._crashes.pop((place, offset), None)
