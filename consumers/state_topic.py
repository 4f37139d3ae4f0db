"""State topic: loads the last published state of every stream from the compacted topic."""

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
_POLL_S = 1.0
_LOAD_POLICY = RetryPolicy((0.5,))

States = defaultdict[int, "Mapping[str, State]"]


async def load_states(broker: Broker, topic: str, partitions: Iterable[int]) -> States:
    """Returns the latest state of every stream, by partition number. Retries until the broker answers."""
    wanted = {PartitionId(topic, partition) for partition in partitions}
    while True:
        try:
            reader = await broker.reader([topic])
            try:
                return _by_partition(await _read(reader, wanted))
            finally:
                await reader.close()
        except (BrokerUnreachable, TopicMissing):       # a broker that just started reports no topics
            await asyncio.sleep(_LOAD_POLICY.delay_s())


async def _read(reader: Reader, wanted: set[PartitionId]) -> list[Record]:
    """Reads all records up to the current ends. Compaction leaves gaps, but always keeps the last record."""
    all_ends = await reader.ends()
    ends = {partition: end for partition, end in all_ends.items() if partition in wanted and end > 0}
    if not ends:
        return []
    await reader.seek(dict.fromkeys(ends, 0))
    found: list[Record] = []
    while ends:
        records = await reader.take(_BATCH, _POLL_S)
        found += records
        for record in records:
            if record.next_offset >= ends.get(record.partition_id, 0):
                ends.pop(record.partition_id, None)
        if not records:     # retention has deleted the rest
            break
    return found


def _by_partition(records: Iterable[Record]) -> States:
    by_partition: defaultdict[int, list[Record]] = defaultdict(list)
    for record in records:
        by_partition[record.partition_id.partition].append(record)
    states: States = defaultdict(dict)
    states.update({partition: latest_states(group) for partition, group in by_partition.items()})
    return states
