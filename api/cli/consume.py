"""`deepguard consume`: analyzes media from Kafka and publishes the verdicts to Kafka."""

from __future__ import annotations

import asyncio
import signal
from typing import Annotated

import typer

from api.cli.terminal import run
from api.settings.base import Settings, load_settings


def consume(
    *,
    workers: Annotated[
        int | None, typer.Option(help="Number of worker processes; overrides DEEPGUARD_WORKERS.")
    ] = None,
) -> None:
    """Analyzes media from Kafka and publishes verdicts there. Runs until SIGTERM or Ctrl-C.

    Reads the same settings as `deepguard serve`. KAFKA_BOOTSTRAP_SERVERS names the brokers.
    """
    from api.logging_setup import logging_to, warn_of_unknown_settings
    from consumers.errors import ConsumerError

    def work() -> None:
        settings = load_settings(workers=workers)
        with logging_to(settings):
            warn_of_unknown_settings()
            asyncio.run(run_consumer(settings))

    run(work, ConsumerError)


async def run_consumer(settings: Settings) -> None:
    """Consumes until SIGTERM or SIGINT, then commits what is published; its successor reads the rest again.

    Raises SettingsRefused, WorkerLost if no worker starts, and ConsumerError if Kafka refuses the consumer.
    """
    import structlog

    from api.incidents.lifecycle import incident_config, running_incidents
    from api.routes.consumer_probes import probes_served
    from api.settings.factories import consume_config, consume_pool_config, kafka_config
    from consumers.consumer import Consumer
    from consumers.kafka.broker import KafkaBroker
    from stream.event_bus import EventBus
    from stream.worker_pool import WorkerPool

    broker = KafkaBroker(kafka_config(settings))
    pool = WorkerPool(consume_pool_config(settings))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        await pool.start()
        async with running_incidents(incident_config(settings), EventBus()) as incidents:
            consumer = Consumer(broker, pool, consume_config(settings), incidents.publisher)
            async with probes_served(settings, consumer, pool, incidents):
                await consumer.run(stop)
    finally:
        await pool.close()
    structlog.get_logger(__name__).info("stopped")
