"""Kafka topics: their settings, their creation, and the check that they exist."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from aiokafka import errors as kafka
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from consumers.errors import BrokerRefused
from consumers.kafka.connection import connection_options
from consumers.kafka.errors import translated

if TYPE_CHECKING:
    from consumers.config import Topics
    from consumers.kafka.config import KafkaConfig

_MAX_REPLICAS = 3
_HOUR_MS = 3_600_000
_EXISTS = kafka.TopicAlreadyExistsError.errno


def topic_settings(topics: Topics, record_bytes: int) -> dict[str, dict[str, str]]:
    """Returns the settings of each topic. Dead letters need a larger limit: they have more headers than media."""
    largest, larger = str(record_bytes + 65536), str(record_bytes + 2 * 65536)
    return {
        topics.media: {"retention.ms": str(6 * _HOUR_MS), "max.message.bytes": largest},
        topics.verdicts: {"retention.ms": str(7 * 24 * _HOUR_MS)},
        topics.states: {"cleanup.policy": "compact,delete", "retention.ms": str(7 * 24 * _HOUR_MS)},
        topics.dead_letters: {"retention.ms": str(7 * 24 * _HOUR_MS), "max.message.bytes": larger},
    }


class ClusterInfo(NamedTuple):
    """Number of brokers in a cluster, and the required topics that it lacks."""

    brokers: int
    missing: tuple[str, ...]


async def inspect_cluster(config: KafkaConfig, topics: Topics, limit_s: float) -> ClusterInfo:
    """Connects with the configured login and certificates and reads the cluster metadata.

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
    required = topic_settings(topics, config.record_bytes)
    return ClusterInfo(brokers, tuple(name for name in required if name not in known))


async def create_topics(config: KafkaConfig, topics: Topics, partitions: int, replication: int = 0) -> dict[str, bool]:
    """Creates missing topics and returns, per topic, whether it was created. Leaves existing topics unchanged.

    `replication` 0 means three replicas, or one per broker if there are fewer. Raises BrokerUnreachable, BrokerRefused.
    """
    admin = AIOKafkaAdminClient(**connection_options(config))
    try:
        with translated():
            await admin.start()
            replicas = replication or min(_MAX_REPLICAS, len((await admin.describe_cluster())["brokers"]))
            answer = await admin.create_topics([
                NewTopic(name, partitions, replicas, topic_configs=settings)
                for name, settings in topic_settings(topics, config.record_bytes).items()
            ])
    finally:
        await admin.close()
    created = {}
    for name, code, *message in answer.topic_errors:
        if code not in (0, _EXISTS):
            raise BrokerRefused(f"{name}: {kafka.for_code(code).__name__} {' '.join(map(str, message))}")
        created[name] = code == 0
    return created
