"""Consumer health, and the lag monitor behind it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, NamedTuple

from consumers.errors import BrokerRefused, BrokerUnreachable, GenerationLost, TopicMissing

if TYPE_CHECKING:
    from collections.abc import Callable

    from consumers.broker import Broker, Member, PartitionId
    from consumers.config import Topics

LAG_EVERY_S = 2.0


class PartitionStatus(NamedTuple):
    """Progress in one partition.

    `lag` is the number of unread records, `held` that of records read but not processed. `committed` is the committed
    offset. None means not known yet.
    """

    partition: int
    lag: int | None
    held: int
    committed: int | None


class ConsumerStatus(NamedTuple):
    """Health of a consumer.

    `reasons` says why it is not ready. `dead_letters` counts records rejected since the start, `discarded` those of
    them that were not written.
    """

    reasons: tuple[str, ...]
    partitions: tuple[PartitionStatus, ...]
    dead_letters: int
    discarded: int


class LagMonitor:
    """Polls the lag every `LAG_EVERY_S` seconds. It also detects an unreachable broker when nothing is written."""

    def __init__(self) -> None:
        self.lags: dict[PartitionId, int] = {}
        self.is_unreachable = False

    async def run(self, member: Member, answered: Callable[[float], None]) -> None:
        """Polls until it is cancelled. Each answer calls `answered` with the seconds since the last one, at most 4."""
        last_s = time.monotonic()
        while True:
            try:
                self.lags = await member.lag()
                self.is_unreachable = False
                answered(min(time.monotonic() - last_s, 2 * LAG_EVERY_S))
            except (BrokerUnreachable, TopicMissing):
                self.is_unreachable = True
            except GenerationLost:      # a rebalance is in progress, so the broker answers
                self.is_unreachable = False
            last_s = time.monotonic()
            await asyncio.sleep(LAG_EVERY_S)


async def check_topics(broker: Broker, topics: Topics) -> None:
    """Checks that all topics exist, with equal partition counts.

    Raises TopicMissing, BrokerUnreachable, and BrokerRefused for unequal counts.
    """
    names = (topics.media, topics.verdicts, topics.states, topics.dead_letters)
    reader = await broker.reader(names)
    try:
        partition_ids = (await reader.ends()).keys()
    finally:
        await reader.close()
    counts = {name: sum(each.topic == name for each in partition_ids) for name in names}
    if missing := [name for name, count in counts.items() if not count]:
        raise TopicMissing(f"Kafka has no topic {', '.join(missing)}; create it with `deepguard topics`")
    equal = {name: counts[name] for name in names[:3]}
    if len(set(equal.values())) > 1:
        found = ", ".join(f"{name} has {count}" for name, count in equal.items())
        raise BrokerRefused(f"topics must have the same number of partitions: {found}; recreate the ones that differ")
