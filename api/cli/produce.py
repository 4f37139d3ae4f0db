"""`deepguard produce`: a file or live source into a Kafka topic, with a bar on stderr."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from api.errors import SettingsRefused
from api.settings.base import Settings
from api.settings.factories import kafka_config
from consumers.errors import BrokerRefused, RecordTooLarge
from consumers.kafka.broker import KafkaBroker
from consumers.media_contract import STREAM_ID
from consumers.producer import Progress as Published
from consumers.producer import Publication, produce
from consumers.segmenter import source_length_s

_MAX_ID = 64


def stream_id_of(source: str) -> str:
    """A stream id made of the last part of a path or URL, without what it may carry of credentials."""
    stem = PurePosixPath(urlsplit(source).path or source).stem
    return re.sub(r"[^A-Za-z0-9_~-]+", "-", stem).strip("-")[:_MAX_ID] or "stream"


async def run_producer(settings: Settings, publication: Publication) -> Published:
    """Publishes until the end, SIGINT or SIGTERM. Raises SettingsRefused and what `produce` raises."""
    if not re.fullmatch(STREAM_ID, publication.stream):
        raise SettingsRefused(f"--stream: expected {STREAM_ID}, got {publication.stream!r}")
    broker = KafkaBroker(kafka_config(settings))
    has_length = not publication.is_looped and await asyncio.to_thread(os.path.isfile, publication.source)
    length_s = await asyncio.to_thread(source_length_s, publication.source) if has_length else None
    writer = await broker.writer()
    try:
        with _stopped_by_signals(publication.stop), _bar(publication, length_s) as tell:
            return await produce(writer, publication, tell)
    except RecordTooLarge as error:
        raise BrokerRefused(f"{error}; a shorter --segment or another form (--as) makes smaller records") from None
    finally:
        await writer.close()


@contextmanager
def _stopped_by_signals(stop: asyncio.Event) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, stop.set)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


@contextmanager
def _bar(publication: Publication, length_s: float | None) -> Iterator[Callable[[Published], None]]:
    """A bar over media time while the block runs; nothing where stderr is no terminal."""
    columns = (
        TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.fields[told]}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(f"{publication.stream} -> {publication.topic}", total=length_s, told="")

        def tell(published: Published) -> None:
            told = published.away or f"{published.records} records, {published.media_s:.1f} s of media"
            progress.update(task, completed=published.media_s, told=told)

        yield tell
