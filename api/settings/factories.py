"""Factories: configurations, the stream service and its workers from the settings.

Independent of HTTP; fast to import.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from api.errors import SettingsRefused
from api.settings.base import Settings
from api.settings.kafka import DetectionMode, VerdictSource
from consumers.config import ConsumerConfig, Topics
from consumers.edge import Edge
from consumers.errors import ContractBroken
from consumers.kafka.config import KafkaConfig, OauthConfig, SaslMechanism
from consumers.url_allowlist import AllowList, ClaimConfig
from stream.config import DecisionConfig, StreamConfig, WindowConfig
from stream.event_bus import EventBus
from stream.load_controller import LoadControllerConfig
from stream.media_limits import MediaLimits
from stream.stream_service import StreamService
from stream.worker_pool import WorkerPool
from stream.worker_pool_config import PoolConfig

LIVE_WAIT_S = 0.5       # with the units in a worker's hands, about the verdict age allowed under load
LIVE_CREDITS = 12       # units sent ahead to a worker: 0.4 s of media
FLUSH_S = 60.0          # for recorded media to be analyzed to its end


@asynccontextmanager
async def running_service(settings: Settings, bus: EventBus) -> AsyncIterator[StreamService]:
    """Runs the stream service with its workers for the block. Raises WorkerLost if no worker starts."""
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
    """Runs the Kafka producer of live media if DEEPGUARD_DETECT is kafka, else yields None. Raises SettingsRefused."""
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
    """Returns the worker pool configuration of these settings."""
    return PoolConfig(
        workers=settings.workers,
        weights_dir=settings.model_path,
        blur_faces=settings.blur_previews,
        unit_wait_s=LIVE_WAIT_S,
        unit_credits=LIVE_CREDITS,
        limits=media_limits(settings),
    )


def media_limits(settings: Settings) -> MediaLimits:
    """Returns the limits of media. The time that one file may take grows with the longest video."""
    usual = MediaLimits()
    length = max(1.0, settings.max_video_s / usual.duration_s)
    return MediaLimits(
        file_bytes=settings.max_file_size_bytes,
        duration_s=settings.max_video_s,
        frames=round(usual.frames * length),
        job_s=usual.job_s * length,
        video_pixels=settings.max_video_pixels,
        picture_pixels=settings.max_picture_pixels,
        shrunk_picture_pixels=4 * settings.max_picture_pixels,
    )


def stream_config(settings: Settings) -> StreamConfig:
    """Returns the stream configuration of these settings."""
    windows = WindowConfig(
        window_s=settings.window_s, hop_s=settings.hop_s, sample_rate_hz=settings.sample_rate_hz
    )
    decision = DecisionConfig(false_alarms_per_hour=settings.false_alarms_per_hour, miss=settings.miss_rate)
    return StreamConfig(
        windows=windows, decision=decision, load=LoadControllerConfig(adaptive=settings.adaptive),
        max_streams=settings.max_streams, max_jobs=files_at_once(settings),
    )


def kafka_config(settings: Settings) -> KafkaConfig:
    """Returns the Kafka configuration. Raises SettingsRefused without bootstrap servers, or with SASL but no login."""
    if not settings.kafka_bootstrap:
        raise SettingsRefused("KAFKA_BOOTSTRAP_SERVERS: empty; write host:port, for example 127.0.0.1:9092")
    if settings.kafka_security.has_login:
        _check_login(settings)
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
        oauth=_oauth_config(settings),
        record_bytes=settings.kafka_record_bytes,
        session_timeout_s=settings.kafka_session_timeout_s,
    )


def _check_login(settings: Settings) -> None:
    protocol = settings.kafka_security
    if settings.kafka_sasl_mechanism is not SaslMechanism.OAUTHBEARER:
        if not settings.kafka_username:
            raise SettingsRefused(f"DEEPGUARD_KAFKA_USERNAME: empty; DEEPGUARD_KAFKA_SECURITY={protocol} needs a user")
        return
    oauth = _oauth_config(settings)
    if sum(map(bool, (oauth.token_url, oauth.token_file, oauth.provider))) != 1:
        raise SettingsRefused(
            "DEEPGUARD_KAFKA_SASL_MECHANISM=OAUTHBEARER needs exactly one of DEEPGUARD_KAFKA_OAUTH_TOKEN_URL, "
            "DEEPGUARD_KAFKA_OAUTH_TOKEN_FILE and DEEPGUARD_KAFKA_OAUTH_PROVIDER"
        )
    if oauth.token_url and not oauth.client_id:
        raise SettingsRefused("DEEPGUARD_KAFKA_OAUTH_CLIENT_ID: empty; the token endpoint needs a client id")


def _oauth_config(settings: Settings) -> OauthConfig:
    return OauthConfig(
        token_url=settings.kafka_oauth_token_url,
        client_id=settings.kafka_oauth_client_id,
        client_secret=settings.kafka_oauth_client_secret.get_secret_value(),
        scope=settings.kafka_oauth_scope,
        token_file=settings.kafka_oauth_token_file,
        provider=settings.kafka_oauth_provider,
    )


def claim_config(settings: Settings) -> ClaimConfig:
    """Returns the claim-check configuration (payloads by reference). Raises SettingsRefused."""
    try:
        allowed = AllowList.of(settings.kafka_claim_urls, settings.kafka_claim_private)
    except ContractBroken as broken:
        raise SettingsRefused(f"DEEPGUARD_KAFKA_CLAIM_URLS: {broken.message}") from None
    return ClaimConfig(allowed, payload_bytes=settings.kafka_record_bytes)


def consume_config(settings: Settings) -> ConsumerConfig:
    """Returns the consumer configuration of these settings. Raises SettingsRefused."""
    topics = Topics(
        media=settings.kafka_media_topic, verdicts=settings.kafka_verdicts_topic, states=settings.kafka_state_topic,
        dead_letters=settings.kafka_dlq_topic,
    )
    return ConsumerConfig(
        topics=topics, group=settings.kafka_group, streams=stream_config(settings), idle_s=settings.kafka_idle_s,
        unit_bytes=pool_config(settings).limits.unit_bytes, claims=claim_config(settings),
    )


def consume_pool_config(settings: Settings) -> PoolConfig:
    """Returns the worker pool of lossless consumers: partitions pause while workers are busy; no frame is dropped."""
    consume = consume_config(settings)
    return replace(
        pool_config(settings), unit_wait_s=None, unit_queue=consume.units_in_flight,
        unit_queue_bytes=consume.units_in_flight * consume.unit_bytes, unit_credits=consume.units_in_flight,
        close_limit_s=FLUSH_S,
    )


def files_at_once(settings: Settings) -> int:
    """Returns how many uploads the workers analyze at a time."""
    workers = settings.workers or len(os.sched_getaffinity(0))
    return workers * pool_config(settings).jobs_per_worker
