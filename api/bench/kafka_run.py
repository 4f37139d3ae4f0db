"""`deepguard bench kafka`: analyzes recorded media of a topic at full speed, with `deepguard consume` and the baseline.

Needs a broker. Leaves its four topics behind.
"""

from __future__ import annotations

import asyncio
import importlib.util
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from rich.table import Table

from api.bench.cpu_usage import BenchProcesses, CpuSnapshot, machine_facts
from api.bench.kafka_baseline import BaselineConsumption
from api.bench.options import FRAME_RATE_HZ
from api.bench.processes import consuming, run_json
from api.errors import BenchFailed
from api.settings.base import Settings
from api.settings.factories import kafka_config
from consumers.broker import Message
from consumers.config import Topics
from consumers.kafka.broker import KafkaBroker
from consumers.kafka.topics import create_topics
from consumers.media_contract import EndOfStream, Media, RecordIdentity, encode
from consumers.record_form import RecordForm
from consumers.segmenter import TIMEBASE, MediaPiece, SegmenterOptions, media_pieces
from consumers.verdict_records import state_of
from stream.events import StreamEnded

if TYPE_CHECKING:
    from consumers.broker import Writer

CLIP = Path(__file__).resolve().parent.parent / "demo_media" / "sample_call.mp4"
_PARTITIONS = 6
_LIMIT_S = 600.0
_NAIVE_START_S = 180.0

ProgressCallback = Callable[[str, int, int], None]
"""Called with (step, done, total)."""


@dataclass(frozen=True, slots=True)
class KafkaBenchOptions:
    """`seconds` of media per stream. The baseline runs for `naive_seconds`; 0 skips it."""

    streams: int = 12
    seconds: float = 30.0
    naive_seconds: float = 15.0


class Consumption(msgspec.Struct, frozen=True, kw_only=True):
    """Throughput of one consumer, and its CPU use in cores.

    `overhead` is the CPU share of the consumer process, which does everything but decoding and inference.
    """

    records_per_s: float
    streams: float
    cores: float
    overhead: float | None

    @property
    def streams_per_core(self) -> float:
        """Live streams of 30 frames/s that one core sustains."""
        return self.streams / self.cores


class KafkaResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result. `bytes_per_s` is the size of one live stream in the topic."""

    machine: dict[str, str | int | float]
    bytes_per_s: float
    ours: Consumption
    naive: Consumption | None

    @property
    def ratio(self) -> float | None:
        return self.ours.streams_per_core / self.naive.streams_per_core if self.naive is not None else None


async def bench_kafka(settings: Settings, options: KafkaBenchOptions, report: ProgressCallback) -> KafkaResult:
    """Runs the benchmark. Raises BenchFailed, SettingsRefused, BrokerUnreachable, BrokerRefused."""
    if options.naive_seconds and not all(importlib.util.find_spec(name) for name in ("mtcnn", "tensorflow")):
        raise BenchFailed("the baseline needs the extra `train`; install it, or use --naive-seconds 0")
    config, machine = kafka_config(settings), machine_facts()
    mark = secrets.token_hex(4)
    topics = Topics(f"bench-{mark}.media", f"bench-{mark}.verdicts", f"bench-{mark}.state", f"bench-{mark}.dlq")
    await create_topics(config, topics, _PARTITIONS)
    broker = KafkaBroker(config)
    clip = [piece async for piece in _clip(options.seconds)]
    await _publish(await broker.writer(), topics.media, clip, options.streams, report)
    ours = await _ours(broker, topics, len(clip), options, report)
    naive = None
    if options.naive_seconds:
        report("measuring the baseline", 0, 1)
        raw = await run_json(
            "api.bench.kafka_baseline", config.bootstrap, topics.media, str(options.naive_seconds),
            timeout_s=_NAIVE_START_S + options.naive_seconds,
        )
        naive = _as_consumed(msgspec.json.decode(raw, type=BaselineConsumption))
    media_s = float(TIMEBASE * (clip[-1].ticks + clip[-1].duration))
    bytes_per_s = sum(len(piece.payload) for piece in clip) / media_s
    return KafkaResult(machine=machine, bytes_per_s=bytes_per_s, ours=ours, naive=naive)


def as_json(outcome: KafkaResult) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(outcome)
    for name, found in (("ours", outcome.ours), ("naive", outcome.naive)):
        if found is not None:
            plain[name]["streams_per_core"] = found.streams_per_core
    return plain | {"ratio": outcome.ratio}


def as_table(outcome: KafkaResult) -> Table:
    table = Table(box=None, pad_edge=False, title=f"{outcome.bytes_per_s / 1000:.0f} kB/s per stream, 30 frames/s")
    for heading in ("", "records/s", "live streams", "cores busy", "streams per core", "overhead"):
        table.add_column(heading)
    for name, found in (("deepguard consume", outcome.ours), ("baseline", outcome.naive)):
        if found is not None:
            overhead = "" if found.overhead is None else f"{found.overhead:.1%}"
            table.add_row(
                name, f"{found.records_per_s:.0f}", f"{found.streams:.1f}", f"{found.cores:.2f}",
                f"{found.streams_per_core:.1f}", overhead,
            )
    return table


async def _clip(seconds: float) -> Any:
    source = media_pieces(str(CLIP), SegmenterOptions(RecordForm.UNITS))
    for piece in await asyncio.to_thread(lambda: list(takewhile(lambda p: p.ticks * TIMEBASE < seconds, source))):
        yield piece


async def _publish(writer: Writer, topic: str, clip: list[MediaPiece], streams: int, report: ProgressCallback) -> None:
    """Publishes the clip as every stream, in parallel."""
    try:
        for number, piece in enumerate(clip):
            await asyncio.gather(*(writer.write(_record(topic, s, number, piece)) for s in range(streams)))
            report("publishing", number + 1, len(clip))
        await asyncio.gather(*(writer.write(_record(topic, s, len(clip), None)) for s in range(streams)))
    finally:
        await writer.close()


def _record(topic: str, stream: int, number: int, piece: MediaPiece | None) -> Message:
    identity = RecordIdentity(f"bench-{stream}", 1, number, number / FRAME_RATE_HZ)
    item = (
        EndOfStream(identity) if piece is None
        else Media(identity, piece.content_type, piece.ticks, TIMEBASE, piece.payload, piece.keyframe)
    )
    encoded = encode(item)
    return Message(topic, encoded.key, encoded.value, encoded.headers, stream % _PARTITIONS)


async def _ours(
    broker: KafkaBroker, topics: Topics, records: int, options: KafkaBenchOptions, report: ProgressCallback
) -> Consumption:
    """Measures from the first verdict to the last stream end; the share of verdicts gives the share of records."""
    async with consuming(topics) as pid, asyncio.timeout(_LIMIT_S):
        parts = BenchProcesses(pid, ())
        reader = await broker.reader([topics.verdicts, topics.states])
        try:
            await reader.seek(dict.fromkeys(await reader.ends(), 0))
            began: CpuSnapshot | None = None
            verdicts = before = 0
            ended: set[str] = set()
            while len(ended) < options.streams:
                for record in await reader.take(1000, 0.2):
                    verdicts += record.partition_id.topic == topics.verdicts
                    if isinstance(state := state_of(record), StreamEnded):
                        ended.add(state.stream)
                if began is None and verdicts:
                    began, before = parts.cpu(), verdicts
                report("analyzing", len(ended), options.streams)
        finally:
            await reader.close()
        usage = (began or parts.cpu()).until(parts.cpu())
    share = (verdicts - before) / verdicts
    rate = records * options.streams * share / usage.seconds
    cores = usage.cores["api"] + usage.cores["workers"]
    return Consumption(
        records_per_s=rate, streams=rate / FRAME_RATE_HZ, cores=cores, overhead=usage.cores["api"] / cores
    )


def _as_consumed(naive: BaselineConsumption) -> Consumption:
    rate = naive.records / naive.seconds
    return Consumption(records_per_s=rate, streams=rate / FRAME_RATE_HZ, cores=naive.cores, overhead=None)
