"""The command `deepguard`. Every command imports what it needs when it runs, so that none pays for another."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from api.bench.options import BenchCodec, BenchSize, LiveBenchOptions
from api.cli.doctor import doctor
from api.cli.livekit import livekit
from api.cli.optional_dependencies import with_extra
from api.cli.training import models
from api.settings.base import Place, load_settings, settings_table
from api.version import VERSION
from consumers.record_form import Form
from stream.events import Label

EXIT_NOT_ALL = 1
LIVE_RESULT = Path("build") / "bench" / "live.json"
KAFKA_RESULT = Path("build") / "bench" / "kafka.json"

_FILE_WIDTH = 240       # of a table that nobody reads on a screen

app = typer.Typer(
    name="deepguard", no_args_is_help=True, add_completion=False, rich_markup_mode=None,
    pretty_exceptions_enable=False, help="Rolling verdicts on manipulated faces in live calls, and verdicts on files.",
)
bench = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Measure this machine.")
app.add_typer(bench, name="bench")

app.command("doctor")(doctor)
app.add_typer(models)
app.command("livekit")(livekit)

JsonFile = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="write the result there, too")]


def main() -> None:
    """Entry point."""
    app()


def _settings_help() -> str:
    lines = ["\b", "Settings (environment variables):"]
    for row in settings_table():
        lines.append(f"  {row.name:<24} {row.meaning}")
        lines.append(f"  {'':<24} default: {row.default or 'empty'}; allowed: {row.allowed}")
    return "\n".join(lines)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"deepguard {VERSION}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="show it and end")
    ] = False,
) -> None:
    """Rolling verdicts on manipulated faces in live calls, and verdicts on files."""


@app.command(epilog=_settings_help())
def serve(
    host: Annotated[str | None, typer.Option(help="as HOST")] = None,
    port: Annotated[int | None, typer.Option(help="as PORT")] = None,
    workers: Annotated[int | None, typer.Option(help="as DEEPGUARD_WORKERS")] = None,
    detect: Annotated[Place | None, typer.Option(help="as DEEPGUARD_DETECT")] = None,
    verdicts: Annotated[Place | None, typer.Option(help="as DEEPGUARD_VERDICTS")] = None,
) -> None:
    """Run the service until SIGTERM or Ctrl-C; both end it in order, with status 0."""
    from api.cli.terminal import run
    from api.launcher import run_server
    from api.logging_setup import logging_to

    def work() -> None:
        settings = load_settings(host=host, port=port, workers=workers, detect=detect, verdicts=verdicts)
        with logging_to(settings):
            asyncio.run(run_server(settings))

    run(work)


@app.command()
def consume(workers: Annotated[int | None, typer.Option(help="as DEEPGUARD_WORKERS")] = None) -> None:
    """Judge media from Kafka and write verdicts there, until SIGTERM or Ctrl-C.

    Settings as for `serve`; KAFKA_BOOTSTRAP_SERVERS says where.
    """
    from api.cli.consume import run_consumer
    from api.cli.terminal import run
    from api.logging_setup import logging_to
    from consumers.errors import ConsumerError

    def work() -> None:
        settings = load_settings(workers=workers)
        with logging_to(settings):
            asyncio.run(run_consumer(settings))

    run(work, ConsumerError)


@app.command()
def watch(
    url: Annotated[str, typer.Argument(help="of the service")] = "http://127.0.0.1:5000",
    stream: Annotated[str, typer.Option(help="one stream alone")] = "*",
    call: Annotated[str | None, typer.Option(help="the streams of this call alone")] = None,
    label: Annotated[list[Label] | None, typer.Option(help="verdicts with this label, and what follows them")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object per line")] = False,
    key_stdin: Annotated[bool, typer.Option("--key-stdin", help="read the key from standard input")] = False,
) -> None:
    """Show the verdicts of a running service as they are made, until Ctrl-C. Comes back by itself after a cut."""
    from api.cli.terminal import run
    from api.cli.watch import print_events
    from api.clients.websocket import WatchOptions
    from api.errors import WatchRefused

    key = sys.stdin.readline().strip() if key_stdin else ""
    options = WatchOptions(key, stream, call, frozenset(label) if label else None)
    run(lambda: asyncio.run(print_events(url, options, as_json, _say)), WatchRefused)


@app.command()
def score(
    files: Annotated[list[Path], typer.Argument(help="pictures and videos")],
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object per line")] = False,
    workers: Annotated[int | None, typer.Option(help="as DEEPGUARD_WORKERS")] = None,
) -> None:
    """Judge files. Ends with 0 if every file was judged, 1 if some could not be, 2 if nothing could be run.

    What a file's label is does not change the status.
    """
    from api.cli.score import score_to_terminal
    from api.cli.terminal import run

    def work() -> None:
        settings = load_settings(workers=workers, log_dir="", log_level="WARNING")
        if not score_to_terminal(files, as_json, settings):
            raise typer.Exit(EXIT_NOT_ALL)

    run(work)


@app.command()
def produce(        # noqa: PLR0913 - a command's parameters are its options
    source: Annotated[str, typer.Argument(metavar="FILE|URL", help="a video file, or a live source that FFmpeg reads")],
    form: Annotated[Form, typer.Option("--as", help="what one record carries")] = Form.UNITS,
    topic: Annotated[str | None, typer.Option(help="as DEEPGUARD_KAFKA_MEDIA_TOPIC")] = None,
    stream: Annotated[str | None, typer.Option(help="id of the stream, the records' key; default: the name")] = None,
    realtime: Annotated[bool, typer.Option("--realtime", help="keep to the pace of the media")] = False,
    loop: Annotated[bool, typer.Option("--loop", help="start a file again at its end, in the same stream")] = False,
    fps: Annotated[float, typer.Option(help="frames: at most so many per second; 0: all", min=0, max=240)] = 10.0,
    quality: Annotated[int, typer.Option(help="frames: of the JPEGs", min=1, max=100)] = 95,
    segment: Annotated[float, typer.Option(help="segments: seconds each, at least", min=0.1, max=60)] = 2.0,
) -> None:
    """Publish a video to Kafka in the media contract, for `deepguard consume`. Ctrl-C ends the stream in order."""
    from api.cli.produce import run_producer, stream_id_of
    from api.cli.terminal import run
    from consumers.errors import ConsumerError
    from consumers.producer import Publication
    from consumers.segmenter import Cut

    def work() -> None:
        settings = load_settings(kafka_media_topic=topic)
        publication = Publication(
            source, settings.kafka_media_topic, stream or stream_id_of(source),
            Cut(form, fps, quality, segment), is_paced=realtime, is_looped=loop,
        )
        done = asyncio.run(run_producer(settings, publication))
        typer.echo(f"{publication.stream}: {done.records} records, {done.media_s:.1f} s of media")

    run(work, ConsumerError)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False)
def demo(context: typer.Context) -> None:
    """Run the service and a sample call that is published to it over WebRTC."""
    from api.cli.demo import run_demo
    from api.cli.terminal import run

    run(lambda: run_demo(context.args))


@bench.command("detector")
def bench_detector(json_file: JsonFile = None) -> None:
    """One 360p sample from frame to score: ours against mtcnn and Keras, alternating. Needs the extra `train`."""
    from api.cli.terminal import run

    def work() -> None:
        result = with_extra("detector.benchmark").bench_detector()
        text = json.dumps(result, indent=2)
        if json_file is not None:
            json_file.write_text(text + "\n", encoding="utf-8")
        typer.echo(text)

    run(work)


@bench.command("live")
def bench_live(     # noqa: PLR0913 - a command's parameters are its options
    calls: Annotated[int, typer.Option(help="how many; with --find, where to start", min=1, max=512)] = 20,
    codec: Annotated[BenchCodec, typer.Option(help="what the publishers send")] = BenchCodec.VP8,
    size: Annotated[BenchSize, typer.Option(help="size of their pictures, at 30 frames/s")] = BenchSize.P360,
    seconds: Annotated[float, typer.Option(help="how long is measured, per number of calls", min=2)] = 30.0,
    find: Annotated[bool, typer.Option("--find", help="look for the largest number that holds")] = False,
    naive: Annotated[bool, typer.Option(help="measure the plain design, too (extra `train`)")] = True,
    json_file: Annotated[Path, typer.Option("--json", metavar="FILE", help="gets the result")] = LIVE_RESULT,
) -> None:
    """Live calls over real WebRTC: verdict ages, sampling, CPU, memory. Needs the extra `bench`."""
    from rich.console import Console

    from api.cli.terminal import run
    from api.errors import BenchFailed

    def work() -> None:
        options = LiveBenchOptions(calls, codec, size, seconds, find, naive)
        console = Console(width=None if sys.stdout.isatty() else _FILE_WIDTH)
        result = with_extra("api.bench.live", "bench").bench_live(options, console)
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(result, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        typer.echo(str(json_file))

    run(work, BenchFailed)


@bench.command("kafka")
def bench_kafka(
    streams: Annotated[int, typer.Option(help="how many, at once", min=1, max=512)] = 12,
    seconds: Annotated[float, typer.Option(help="of media per stream", min=6, max=45)] = 30.0,
    naive_seconds: Annotated[float, typer.Option(help="for the plain consumer (extra `train`); 0: none", min=0)] = 15,
    json_file: Annotated[Path, typer.Option("--json", metavar="FILE", help="gets the result")] = KAFKA_RESULT,
) -> None:
    """Media in a topic judged as fast as it goes, here and by the plain way. Needs KAFKA_BOOTSTRAP_SERVERS."""
    from rich.console import Console

    from api.cli.terminal import count_progress, run
    from api.errors import BenchFailed
    from consumers.errors import ConsumerError

    def work() -> None:
        kafka = with_extra("api.bench.kafka_run", "bench")
        with count_progress() as tell:
            options = kafka.KafkaBenchOptions(streams, seconds, naive_seconds)
            outcome = asyncio.run(kafka.bench_kafka(load_settings(), options, tell))
        Console(width=None if sys.stdout.isatty() else _FILE_WIDTH).print(kafka.as_table(outcome))
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(kafka.as_json(outcome), indent=2) + "\n", encoding="utf-8")
        typer.echo(str(json_file))

    run(work, BenchFailed, ConsumerError)


@app.command()
def topics(
    partitions: Annotated[int, typer.Option(help="of all topics; fixed for life", min=1, max=10_000)] = 12,
    replication: Annotated[int, typer.Option(help="copies of each; 0: 3, or one per broker", min=0)] = 0,
) -> None:
    """Make the Kafka topics that the settings name, with what they need. Those that exist stay as they are."""
    from api.cli.terminal import run
    from api.settings.factories import consume_config, kafka_config
    from consumers.errors import ConsumerError
    from consumers.kafka.topics import create_topics

    def work() -> None:
        settings = load_settings()
        names = consume_config(settings).topics
        made = asyncio.run(create_topics(kafka_config(settings), names, partitions, replication))
        for name, is_new in made.items():
            typer.echo(f"{name}: {'made' if is_new else 'exists'}")

    run(work, ConsumerError)


@app.command()
def replay(
    incident: Annotated[Path, typer.Argument(help="the zip of an exported incident")],
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object")] = False,
) -> None:
    """Judge an exported incident again, offline. Ends with 0 if all of it matches, 1 if not, 2 if it cannot be read."""
    from api.cli.terminal import run
    from api.incidents.errors import BundleBroken
    from api.incidents.replay_bundle import replay_incident

    def work() -> None:
        report = replay_incident(incident, load_settings().model_path)
        typer.echo(json.dumps(report.as_json(), indent=2) if as_json else report.as_text())
        if not report.matches:
            raise typer.Exit(EXIT_NOT_ALL)

    run(work, BundleBroken)


@app.command()
def simulate(      # noqa: PLR0913 - a command's parameters are its options
    hours: Annotated[float, typer.Option(help="real hours per stream", min=0.01)] = 1.0,
    streams: Annotated[int, typer.Option(help="streams at once", min=1)] = 256,
    budget: Annotated[float | None, typer.Option(help="as DEEPGUARD_FALSE_ALARMS_PER_HOUR")] = None,
    rate: Annotated[float | None, typer.Option(help="as DEEPGUARD_SAMPLE_RATE")] = None,
    offset_sd: Annotated[float, typer.Option(help="persistent offset per stream, standard deviation of llr")] = 0.0,
    gap_share: Annotated[float, typer.Option(help="share of samples that are lost")] = 0.0,
    tracks: Annotated[int, typer.Option(help="faces per stream", min=1)] = 1,
    json_file: JsonFile = None,
) -> None:
    """False alarms per hour and detection delay of the alarm rule, simulated with the model's measured evidence."""
    from api.cli.simulate import simulate_policy
    from api.cli.terminal import run
    from stream.alarm_simulation import World

    def work() -> None:
        settings = load_settings(false_alarms_per_hour=budget, sample_rate_hz=rate)
        world = World(settings.sample_rate_hz, offset_sd=offset_sd, gap_share=gap_share, tracks=tracks)
        text = json.dumps(simulate_policy(settings, world, streams, hours), indent=2)
        if json_file is not None:
            json_file.write_text(text + "\n", encoding="utf-8")
        typer.echo(text)

    run(work)


def _say(line: str, is_aside: bool) -> None:
    typer.echo(line, err=is_aside)
    sys.stdout.flush()
