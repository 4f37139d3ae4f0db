"""The stream service and its workers, made as the settings say. Knows nothing of HTTP, and is quick to import."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from api.errors import SettingsRefused
from api.settings.base import DetectionMode, Settings, VerdictSource
from consumers.config import ConsumeConfig, Topics
from consumers.edge import Edge
from consumers.errors import ContractBroken
from consumers.kafka.config import KafkaConfig
from consumers.url_allowlist import AllowList, ClaimConfig
from stream.config import DecisionConfig, StreamConfig, WindowConfig
from stream.event_bus import EventBus
from stream.load_controller import LoadControllerConfig
from stream.media_limits import MediaLimits
from stream.stream_service import StreamService
from stream.worker_pool import WorkerPool
from stream.worker_pool_config import PoolConfig

LIVE_WAIT_S = 0.5       # together with what a worker has in hand, about as late as a verdict may be under load
LIVE_CREDITS = 12       # 0.4 s of media in a worker's hands
FLUSH_S = 60.0          # for what keeps to be examined to its end


@asynccontextmanager
async def running_service(settings: Settings, bus: EventBus) -> AsyncIterator[StreamService]:
    """The stream service with its workers. Raises WorkerLost if none can be started."""
    pool = WorkerPool(pool_config(settings))
    async with running_edge(settings) as edge:
        service = StreamService(stream_config(settings), pool, bus, edge)
        try:
            await service.start()
            yield service
        finally:
            await service.close()


@asynccontextmanager
async def running_edge(settings: Settings) -> AsyncIterator[Edge | None]:
    """None unless live calls are examined elsewhere. Raises SettingsRefused."""
    if settings.detect is not DetectionMode.KAFKA:
        yield None
        return
    from consumers.kafka.broker import KafkaBroker  # slow to import; not needed without Kafka

    from_kafka = settings.verdicts is VerdictSource.KAFKA
    edge = Edge(KafkaBroker(kafka_config(settings)), settings.kafka_media_topic, from_kafka)
    try:
        yield edge
    finally:
        await edge.close()


def pool_config(settings: Settings) -> PoolConfig:
    """The part of the settings that concerns workers."""
    return PoolConfig(
        workers=settings.workers,
        weights_dir=settings.model_path,
        blur_faces=settings.blur_previews,
        unit_wait_s=LIVE_WAIT_S,
        unit_credits=LIVE_CREDITS,
        limits=MediaLimits(file_bytes=settings.max_file_size_bytes),
    )


def stream_config(settings: Settings) -> StreamConfig:
    """The part of the settings that concerns streams."""
    windows = WindowConfig(
        window_s=settings.window_s, hop_s=settings.hop_s, sample_rate_hz=settings.sample_rate_hz
    )
    decision = DecisionConfig(false_alarms_per_hour=settings.false_alarms_per_hour, miss=settings.miss_rate)
    return StreamConfig(
        windows=windows, decision=decision, ladder=LoadControllerConfig(adaptive=settings.adaptive),
        max_streams=settings.max_streams, max_jobs=files_at_once(settings),
    )


def kafka_config(settings: Settings) -> KafkaConfig:
    """The part of the settings that concerns Kafka. Raises SettingsRefused if they name no cluster, or no login."""
    if not settings.kafka_bootstrap:
        raise SettingsRefused("KAFKA_BOOTSTRAP_SERVERS: expected host:port, comma separated, got nothing")
    if settings.kafka_security.has_login and not settings.kafka_username:
        raise SettingsRefused(f"DEEPGUARD_KAFKA_USERNAME: needed for {settings.kafka_security}")
    return KafkaConfig(
        bootstrap=",".join(settings.kafka_bootstrap),
        client_id=settings.kafka_client_id,
        instance=settings.kafka_instance,
        security=settings.kafka_security,
        ca_file=settings.kafka_ca_file,
        cert_file=settings.kafka_cert_file,
        key_file=settings.kafka_key_file,
        mechanism=settings.kafka_sasl_mechanism,
        username=settings.kafka_username,
        password=settings.kafka_password.get_secret_value(),
        record_bytes=settings.kafka_record_bytes,
        session_timeout_s=settings.kafka_session_timeout_s,
    )


def claim_config(settings: Settings) -> ClaimConfig:
    """The part of the settings that concerns references to payloads. Raises SettingsRefused."""
    try:
        allowed = AllowList.of(settings.kafka_claim_urls, settings.kafka_claim_private)
    except ContractBroken as broken:
        raise SettingsRefused(f"DEEPGUARD_KAFKA_CLAIM_URLS: {broken.message}") from None
    return ClaimConfig(allowed, payload_bytes=settings.kafka_record_bytes)


def consume_config(settings: Settings) -> ConsumeConfig:
    """The part of the settings that concerns media from a broker."""
    topics = Topics(
        media=settings.kafka_media_topic, verdicts=settings.kafka_verdicts_topic, states=settings.kafka_state_topic,
        dead_letters=settings.kafka_dlq_topic,
    )
    return ConsumeConfig(
        topics=topics, group=settings.kafka_group, streams=stream_config(settings), idle_s=settings.kafka_idle_s,
        unit_bytes=pool_config(settings).limits.unit_bytes, claims=claim_config(settings),
    )


def consume_pool_config(settings: Settings) -> PoolConfig:
    """Workers for media that keeps: its reading rests while they are busy, so that nothing is ever dropped."""
    consume = consume_config(settings)
    return replace(
        pool_config(settings), unit_wait_s=None, unit_queue=consume.in_hand,
        unit_queue_bytes=consume.in_hand * consume.unit_bytes, unit_credits=consume.in_hand,
        close_limit_s=FLUSH_S,
    )


def files_at_once(settings: Settings) -> int:
    """How many uploads the workers take at a time."""
    workers = settings.workers or len(os.sched_getaffinity(0))
    return workers * pool_config(settings).jobs_per_worker
