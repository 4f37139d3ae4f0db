"""`deepguard produce`: publishes a video file or a live source to a Kafka topic."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from api.cli.terminal import run
from api.errors import SettingsRefused
from api.settings.base import Settings, load_settings
from consumers.record_form import RecordForm

if TYPE_CHECKING:
    from consumers.producer import Progress, Publication

_MAX_ID = 64


def produce(
    source: Annotated[str, typer.Argument(metavar="FILE|URL", help="Video file, or live source that FFmpeg reads.")],
    *,
    form: Annotated[RecordForm, typer.Option("--as", help="What each record carries.")] = RecordForm.UNITS,
    topic: Annotated[
        str | None, typer.Option(help="Topic to publish to; overrides DEEPGUARD_KAFKA_MEDIA_TOPIC.")
    ] = None,
    stream: Annotated[
        str | None, typer.Option(help="Stream id, which is the key of the records; default: the name of the source.")
    ] = None,
    realtime: Annotated[bool, typer.Option("--realtime", help="Publish at the pace of the media.")] = False,
    loop: Annotated[bool, typer.Option("--loop", help="Restart a file at its end, within the same stream.")] = False,
    fps: Annotated[
        float, typer.Option(help="For --as frames: at most this many frames per second; 0: all frames.", min=0, max=240)
    ] = 10.0,
    quality: Annotated[int, typer.Option(help="For --as frames: JPEG quality.", min=1, max=100)] = 95,
    segment: Annotated[
        float, typer.Option(help="For --as segments: shortest segment, in seconds.", min=0.1, max=60)
    ] = 2.0,
) -> None:
    """Publishes a video to Kafka, for `deepguard consume`. Ctrl-C ends the stream in order."""
    from consumers.errors import ConsumerError
    from consumers.producer import Publication
    from consumers.segmenter import SegmenterOptions

    def work() -> None:
        settings = load_settings(kafka_media_topic=topic)
        publication = Publication(
            source, settings.kafka_media_topic, stream or stream_id_of(source),
            SegmenterOptions(form, fps, quality, segment), is_paced=realtime, is_looped=loop,
        )
        done = asyncio.run(_run_producer(settings, publication))
        typer.echo(f"{publication.stream}: {done.records} records, {done.media_s:.1f} s of media")

    run(work, ConsumerError)


def stream_id_of(source: str) -> str:
    """Returns a stream id made from the last part of a path or URL, without any credentials of the URL."""
    stem = PurePosixPath(urlsplit(source).path or source).stem
    return re.sub(r"[^A-Za-z0-9_~-]+", "-", stem).strip("-")[:_MAX_ID] or "stream"


async def _run_producer(settings: Settings, publication: Publication) -> Progress:
    """Publishes until the source ends, SIGINT or SIGTERM. Raises SettingsRefused and what `producer.produce` raises."""
    from api.settings.factories import kafka_config
    from consumers import producer
    from consumers.errors import BrokerRefused, RecordTooLarge
    from consumers.kafka.broker import KafkaBroker
    from consumers.segmenter import source_length_s
    from stream.identity import STREAM_ID

    if not re.fullmatch(STREAM_ID, publication.stream):
        raise SettingsRefused(f"--stream: expected {STREAM_ID}, got {publication.stream!r}")
    broker = KafkaBroker(kafka_config(settings))
    has_length = not publication.is_looped and await asyncio.to_thread(os.path.isfile, publication.source)
    length_s = await asyncio.to_thread(source_length_s, publication.source) if has_length else None
    writer = await broker.writer()
    try:
        with _stopped_by_signals(publication.stop), _media_progress(publication, length_s) as tell:
            return await producer.produce(writer, publication, tell)
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
def _media_progress(publication: Publication, length_s: float | None) -> Iterator[Callable[[Progress], None]]:
    """Shows a bar over media time while the block runs, on stderr if that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.fields[told]}", markup=False),
        TimeElapsedColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(f"{publication.stream} -> {publication.topic}", total=length_s, told="")

        def tell(published: Progress) -> None:
            told = published.problem or f"{published.records} records, {published.media_s:.1f} s of media"
            bar.update(task, completed=published.media_s, told=told)

        yield tell
