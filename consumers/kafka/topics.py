"""Makes the topics that we use, with the settings that they need."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from aiokafka import errors as kafka
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from consumers.errors import BrokerRefused
from consumers.kafka.config import connection_options
from consumers.kafka.errors import translated

if TYPE_CHECKING:
    from consumers.config import Topics
    from consumers.kafka.config import KafkaConfig

_COPIES = 3
_HOUR_MS = 3_600_000
_EXISTS = kafka.TopicAlreadyExistsError.errno


def planned(topics: Topics, record_bytes: int) -> dict[str, dict[str, str]]:
    """Settings by topic. A dead letter is a record of the media topic with more headers."""
    largest, larger = str(record_bytes + 65536), str(record_bytes + 2 * 65536)
    return {
        topics.media: {"retention.ms": str(6 * _HOUR_MS), "max.message.bytes": largest},
        topics.verdicts: {"retention.ms": str(7 * 24 * _HOUR_MS)},
        topics.states: {"cleanup.policy": "compact,delete", "retention.ms": str(7 * 24 * _HOUR_MS)},
        topics.dead_letters: {"retention.ms": str(7 * 24 * _HOUR_MS), "max.message.bytes": larger},
    }


class ClusterLook(NamedTuple):
    """What a cluster says of itself to us. `missing` are those of the wanted topics that it does not have."""

    brokers: int
    missing: tuple[str, ...]


async def look_at(config: KafkaConfig, topics: Topics, limit_s: float) -> ClusterLook:
    """Connects as our clients do, with login and certificates, and asks for metadata.

    Raises BrokerUnreachable, BrokerRefused.
    """
    admin = AIOKafkaAdminClient(**connection_options(config), request_timeout_ms=round(limit_s * 1000))
    try:
        with translated():
            async with asyncio.timeout(2 * limit_s):
                await admin.start()
                brokers = len((await admin.describe_cluster())["brokers"])
                known = set(await admin.list_topics())
    finally:
        await admin.close()
    return ClusterLook(brokers, tuple(name for name in planned(topics, config.record_bytes) if name not in known))


async def create_topics(config: KafkaConfig, topics: Topics, partitions: int, replication: int = 0) -> dict[str, bool]:
    """Which topics were made; those that exist are left as they are. `replication` 0: three copies, or as many as there
    are brokers.

    Raises BrokerUnreachable, BrokerRefused.
    """
    admin = AIOKafkaAdminClient(**connection_options(config))
    try:
        with translated():
            await admin.start()
            copies = replication or min(_COPIES, len((await admin.describe_cluster())["brokers"]))
            answer = await admin.create_topics([
                NewTopic(name, partitions, copies, topic_configs=settings)
                for name, settings in planned(topics, config.record_bytes).items()
            ])
    finally:
        await admin.close()
    made = {}
    for name, code, *message in answer.topic_errors:
        if code not in (0, _EXISTS):
            raise BrokerRefused(f"{name}: {kafka.for_code(code).__name__} {' '.join(map(str, message))}")
        made[name] = code == 0
    return made
