"""`deepguard consume`: media from Kafka, verdicts to Kafka, until a signal comes."""

from __future__ import annotations

import asyncio
import signal

import structlog

from api.incidents.config import incident_config
from api.incidents.lifecycle import running_incidents
from api.routes.consumer_probes import health_served
from api.settings.base import Settings
from api.settings.factories import consume_config, consume_pool_config, kafka_config
from consumers.consumer import Consumer
from consumers.kafka.broker import KafkaBroker
from stream.event_bus import Bus
from stream.worker_pool import WorkerPool

log = structlog.get_logger(__name__)


async def run_consumer(settings: Settings) -> None:
    """Consumes until SIGTERM or SIGINT. What is out by then is committed; the rest is for whoever comes next.

    Raises SettingsRefused, WorkerLost if no worker can be started, and ConsumerError if Kafka refuses us.
    """
    broker = KafkaBroker(kafka_config(settings))
    pool = WorkerPool(consume_pool_config(settings))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        await pool.start()
        async with running_incidents(incident_config(settings), Bus()) as incidents:
            consumer = Consumer(broker, pool, consume_config(settings), incidents.desk)
            async with health_served(settings, consumer, pool, incidents.desk):
                await consumer.run(stop)
    finally:
        await pool.close()
    log.info("stopped")
