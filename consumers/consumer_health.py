"""How a consumer says how it is, and what it looks at to know."""

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
    """`lag` is how many records lie between what was read and the end, `held` how many were read and wait, and
    `committed` where a successor would start; None while it is not known."""

    partition: int
    lag: int | None
    held: int
    committed: int | None


class ConsumerStatus(NamedTuple):
    """`reasons` why it cannot work now; `dead_letters` were refused since the start, `left_out` of them not kept."""

    reasons: tuple[str, ...]
    partitions: tuple[PartitionStatus, ...]
    dead_letters: int
    left_out: int


class LagWatch:
    """Asks the broker every now and then; that it does not answer is how a consumer with nothing to write notices."""

    def __init__(self) -> None:
        self.lags: dict[PartitionId, int] = {}
        self.is_unreachable = False

    async def run(self, member: Member, answered: Callable[[float], None]) -> None:
        """Until it is cancelled. `answered` is told for how many seconds the broker was there since the last answer."""
        last_s = time.monotonic()
        while True:
            try:
                self.lags = await member.lag()
                self.is_unreachable = False
                answered(min(time.monotonic() - last_s, 2 * LAG_EVERY_S))
            except (BrokerUnreachable, TopicMissing):
                self.is_unreachable = True
            except GenerationLost:      # a rebalance is going on, of which the broker knows
                self.is_unreachable = False
            last_s = time.monotonic()
            await asyncio.sleep(LAG_EVERY_S)


async def check_topics(broker: Broker, topics: Topics) -> None:
    """Raises TopicMissing, BrokerRefused if the topics do not fit together, BrokerUnreachable."""
    names = (topics.media, topics.verdicts, topics.states, topics.dead_letters)
    reader = await broker.reader(names)
    try:
        places = (await reader.ends()).keys()
    finally:
        await reader.close()
    counts = {name: sum(place.topic == name for place in places) for name in names}
    if missing := [name for name, count in counts.items() if not count]:
        raise TopicMissing(f"Kafka has no topic {', '.join(missing)}")
    alike = {name: counts[name] for name in names[:3]}
    if len(set(alike.values())) > 1:
        told = ", ".join(f"{name} has {count}" for name, count in alike.items())
        raise BrokerRefused(f"topics must have the same number of partitions: {told}")
