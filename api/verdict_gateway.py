"""Verdict gateway (`serve --verdicts kafka`): republishes the verdicts of all workers on this process's event bus."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from api.settings.base import Settings
from api.settings.factories import consume_config, kafka_config
from api.settings.kafka import VerdictSource
from consumers.gateway import Gateway
from stream.event_bus import EventBus

BROKER_LOST_AFTER_S = 15.0


@asynccontextmanager
async def running_gateway(settings: Settings, bus: EventBus) -> AsyncIterator[Gateway | None]:
    """Runs the gateway if DEEPGUARD_VERDICTS is kafka, else yields None.

    Raises SettingsRefused. An unreachable broker is retried, not raised.
    """
    if settings.verdicts is not VerdictSource.KAFKA:
        yield None
        return
    from consumers.kafka.broker import KafkaBroker  # slow to import; not needed without Kafka

    gateway = Gateway(KafkaBroker(kafka_config(settings)), consume_config(settings).topics, bus.publish)
    task = asyncio.get_running_loop().create_task(gateway.run(), name="gateway")
    try:
        yield gateway
    finally:
        task.cancel()
        await asyncio.wait([task])
