"""Kafka broker: implements `consumers.broker` on aiokafka."""

from __future__ import annotations

from typing import TYPE_CHECKING

from consumers.kafka.group_member import KafkaMember
from consumers.kafka.reader import KafkaReader
from consumers.kafka.writer import KafkaWriter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumers.broker import Listener
    from consumers.kafka.config import KafkaConfig


class KafkaBroker:
    """A `consumers.broker.Broker` for one Kafka cluster."""

    def __init__(self, config: KafkaConfig) -> None:
        self._config = config

    async def writer(self) -> KafkaWriter:
        return await KafkaWriter.connect(self._config)

    async def member(self, group: str, topics: Sequence[str], listener: Listener) -> KafkaMember:
        return await KafkaMember.connect(self._config, group, topics, listener)

    async def reader(self, topics: Sequence[str]) -> KafkaReader:
        return await KafkaReader.connect(self._config, topics)
