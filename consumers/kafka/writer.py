"""Kafka writer with `acks=all`. Not idempotent: aiokafka's idempotent producer can hang forever."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaProducer

from consumers.errors import TopicMissing
from consumers.kafka.connection import connection_options
from consumers.kafka.errors import translated

if TYPE_CHECKING:
    from consumers.broker import Message
    from consumers.kafka.config import KafkaConfig

_BATCH_BYTES = 256 * 1024
_FRAMING_BYTES = 4096       # overhead of the batch around a record


class KafkaWriter:
    """A `consumers.broker.Writer`. A semaphore bounds memory, because aiokafka's producer has no limit of its own."""

    def __init__(self, producer: Any, config: KafkaConfig) -> None:
        self._producer = producer
        self._in_flight = asyncio.Semaphore(config.sends_in_flight)

    @classmethod
    async def connect(cls, config: KafkaConfig) -> KafkaWriter:
        producer = AIOKafkaProducer(
            **connection_options(config),
            acks="all",
            enable_idempotence=False,
            max_batch_size=_BATCH_BYTES,
            max_request_size=config.record_bytes + _FRAMING_BYTES,
            request_timeout_ms=int(config.request_timeout_s * 1000),
        )
        try:
            with translated():
                await producer.start()
        except BaseException:
            await producer.stop()
            raise
        return cls(producer, config)

    async def write(self, message: Message) -> int:
        async with self._in_flight:
            with translated(message.topic):
                await self._check(message)
                sent = await self._producer.send_and_wait(
                    message.topic, message.value, message.key, message.partition, headers=list(message.headers)
                )
        offset: int = sent.offset
        return offset

    async def close(self) -> None:
        with translated():
            await self._producer.stop()

    async def _check(self, message: Message) -> None:
        """Checks the message, because aiokafka only asserts these conditions."""
        if message.key is None and message.value is None:
            raise ValueError("a record needs a key or a value")
        partitions = await self._producer.partitions_for(message.topic)
        if message.partition is not None and message.partition not in partitions:
            raise TopicMissing(f"{message.topic} has no partition {message.partition}")
