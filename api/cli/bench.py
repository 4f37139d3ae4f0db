"""`deepguard bench detector|live|kafka`: measures this machine."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated

import typer

from api.bench.options import BenchCodec, BenchSize, LiveBenchOptions
from api.cli.optional_dependencies import with_extra
from api.cli.terminal import run, table_width, write_json
from api.settings.base import load_settings

LIVE_RESULT = Path("build") / "bench" / "live.json"
KAFKA_RESULT = Path("build") / "bench" / "kafka.json"

bench = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Measures this machine.")


@bench.command("detector")
def bench_detector(
    *,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Also write the result here.")
    ] = None,
) -> None:
    """Measures the detector on 360p frames. Alternates with the mtcnn and Keras baseline; needs the extra `train`."""

    def work() -> None:
        result = with_extra("detector.benchmark").bench_detector()
        if json_file is not None:
            write_json(json_file, result)
        typer.echo(json.dumps(result, indent=2))

    run(work)


@bench.command("live")
def bench_live(
    *,
    calls: Annotated[
        int, typer.Option(help="Number of simultaneous calls; with --find, where the search starts.", min=1, max=512)
    ] = 20,
    codec: Annotated[BenchCodec, typer.Option(help="Video codec of the publishers.")] = BenchCodec.VP8,
    size: Annotated[BenchSize, typer.Option(help="Picture height of the calls, at 30 frames/s.")] = BenchSize.P360,
    seconds: Annotated[float, typer.Option(help="Seconds measured for each number of calls.", min=2)] = 30.0,
    find: Annotated[bool, typer.Option("--find", help="Search for the largest number of calls that is held.")] = False,
    naive: Annotated[
        bool, typer.Option(help="Also measure the baseline: one plain loop per call (needs the extra `train`).")
    ] = True,
    json_file: Annotated[
        Path, typer.Option("--json", metavar="FILE", help="File that the result is written to.")
    ] = LIVE_RESULT,
) -> None:
    """Measures live calls over WebRTC. Reports verdict age, sampling rate, CPU and memory; needs the extra `bench`."""
    from rich.console import Console

    from api.errors import BenchFailed

    def work() -> None:
        options = LiveBenchOptions(calls, codec, size, seconds, find, naive)
        result = with_extra("api.bench.live", "bench").bench_live(options, Console(width=table_width()))
        write_json(json_file, result, allow_nan=False)
        typer.echo(str(json_file))

    run(work, BenchFailed)


@bench.command("kafka")
def bench_kafka(
    *,
    streams: Annotated[int, typer.Option(help="Number of simultaneous streams.", min=1, max=512)] = 12,
    seconds: Annotated[float, typer.Option(help="Seconds of media per stream.", min=6, max=45)] = 30.0,
    naive_seconds: Annotated[
        float,
        typer.Option(help="Seconds that the baseline consumer runs (needs the extra `train`); 0 skips it.", min=0),
    ] = 15,
    json_file: Annotated[
        Path, typer.Option("--json", metavar="FILE", help="File that the result is written to.")
    ] = KAFKA_RESULT,
) -> None:
    """Measures the throughput of media from Kafka. Compares it with a baseline consumer.

    Needs the extra `bench` and KAFKA_BOOTSTRAP_SERVERS.
    """
    from rich.console import Console

    from api.cli.progress import count_progress
    from api.errors import BenchFailed
    from consumers.errors import ConsumerError

    def work() -> None:
        kafka = with_extra("api.bench.kafka_run", "bench")
        with count_progress() as tell:
            options = kafka.KafkaBenchOptions(streams, seconds, naive_seconds)
            outcome = asyncio.run(kafka.bench_kafka(load_settings(), options, tell))
        Console(width=table_width()).print(kafka.as_table(outcome))
        write_json(json_file, kafka.as_json(outcome))
        typer.echo(str(json_file))

    run(work, BenchFailed, ConsumerError)
