"""`deepguard topics`: creates the Kafka topics."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from api.cli.terminal import run
from api.settings.base import load_settings


def topics(
    *,
    partitions: Annotated[
        int, typer.Option(help="Partitions of every topic; cannot be changed later.", min=1, max=10_000)
    ] = 12,
    replication: Annotated[
        int, typer.Option(help="Replicas of every partition; 0: three, or one per broker if fewer.", min=0)
    ] = 0,
) -> None:
    """Creates the Kafka topics that the settings name. Existing topics stay as they are."""
    from api.settings.factories import consume_config, kafka_config
    from consumers.errors import ConsumerError
    from consumers.kafka.topics import create_topics

    def work() -> None:
        settings = load_settings()
        names = consume_config(settings).topics
        created = asyncio.run(create_topics(kafka_config(settings), names, partitions, replication))
        for name, is_new in created.items():
            typer.echo(f"{name}: {'created' if is_new else 'exists'}")

    run(work, ConsumerError)
