"""Where the streams of some partitions stand, as the compacted state topic has it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING

from consumers.broker import PartitionId
from consumers.errors import BrokerUnreachable, TopicMissing
from consumers.verdict_records import latest_states
from stream.retry_policy import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from consumers.broker import Broker, Reader, Record
    from consumers.verdict_records import State

_BATCH = 1000
_TAKE_S = 1.0
_LOAD_POLICY = RetryPolicy((0.5,))

States = defaultdict[int, "Mapping[str, State]"]


async def load_states(broker: Broker, topic: str, partitions: Iterable[int]) -> States:
    """The furthest state of every stream, by partition. Tries until the broker answers."""
    wanted = {PartitionId(topic, partition) for partition in partitions}
    while True:
        try:
            reader = await broker.reader([topic])
            try:
                return _by_partition(await _read(reader, wanted))
            finally:
                await reader.close()
        except (BrokerUnreachable, TopicMissing):       # a broker that just started knows no topics yet
            await asyncio.sleep(_LOAD_POLICY.delay_s())


async def _read(reader: Reader, wanted: set[PartitionId]) -> list[Record]:
    """All records up to the ends as they are now. Compaction leaves holes, but never takes the last record."""
    ends = {place: end for place, end in (await reader.ends()).items() if place in wanted and end > 0}
    if not ends:
        return []
    await reader.seek(dict.fromkeys(ends, 0))
    found: list[Record] = []
    while ends:
        records = await reader.take(_BATCH, _TAKE_S)
        found += records
        for record in records:
            if record.next_offset >= ends.get(record.place, 0):
                ends.pop(record.place, None)
        if not records:     # retention has emptied what is left
            break
    return found


def _by_partition(records: Iterable[Record]) -> States:
    rows: defaultdict[int, list[Record]] = defaultdict(list)
    for record in records:
        rows[record.place.partition].append(record)
    states: States = defaultdict(dict)
    states.update({partition: latest_states(row) for partition, row in rows.items()})
    return states
