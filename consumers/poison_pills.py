"""Poison-pill detection: retries records that may have crashed a worker one at a time, three times at most. No I/O."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from consumers.broker import PartitionId

TRIES = 3
_MAX_SUSPECTS = 4096


class PoisonPills:
    """Counts worker crashes per record, for the newest 4,096 suspects. Outlives the streams of the records."""

    def __init__(self) -> None:
        self._crashes: OrderedDict[tuple[PartitionId, int], int] = OrderedDict()

    def crashed(self, partition_id: PartitionId, offsets: Iterable[int]) -> None:
        """Adds one crash to each record that the worker held."""
        for offset in offsets:
            self._crashes[partition_id, offset] = self._crashes.pop((partition_id, offset), 0) + 1
        while len(self._crashes) > _MAX_SUSPECTS:
            self._crashes.popitem(last=False)

    def is_suspect(self, partition_id: PartitionId, offset: int) -> bool:
        """Returns whether to feed this record alone, so that a crash can be attributed to it."""
        return (partition_id, offset) in self._crashes

    def is_poison(self, partition_id: PartitionId, offset: int) -> bool:
        """Returns whether this record has used up its `TRIES`."""
        return self._crashes.get((partition_id, offset), 0) >= TRIES

    def clear(self, partition_id: PartitionId, offset: int) -> None:
        """Clears a record that a worker has processed."""
        self._crashes.pop((partition_id, offset), None)
