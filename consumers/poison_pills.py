"""Poison pills: records in flight when a worker crashed. Each is retried alone, and given up after three crashes.

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
    """Crash counts by record. Outlives the streams of the records."""

    def __init__(self) -> None:
        self._crashes: OrderedDict[tuple[PartitionId, int], int] = OrderedDict()

    def crashed(self, place: PartitionId, offsets: Iterable[int]) -> None:
        """Counts a worker crash for each record that was in flight."""
        for offset in offsets:
            self._crashes[place, offset] = self._crashes.pop((place, offset), 0) + 1
        while len(self._crashes) > _KEPT:
            self._crashes.popitem(last=False)

    def is_suspect(self, place: PartitionId, offset: int) -> bool:
        """Returns whether the record must be retried alone, to show which record crashes a worker."""
        return (place, offset) in self._crashes

    def is_condemned(self, place: PartitionId, offset: int) -> bool:
        """Returns whether workers crashed on this record too often for another try."""
        return self._crashes.get((place, offset), 0) >= TRIES

    def clear(self, place: PartitionId, offset: int) -> None:
        """Forgets the crashes of a record that a worker has processed."""
        self._crashes.pop((place, offset), None)
