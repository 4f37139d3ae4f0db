"""Edge: the units of live calls in a topic, with outages and refusals."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec

from consumers.broker import PartitionId
from consumers.edge import QUEUE_UNITS, Edge
from consumers.kafka.broker import KafkaBroker
from consumers.kafka.config import KafkaConfig, Security
from consumers.media_contract import EndOfStream, Item, Media, parse
from stream.events import StreamGap
from stream.types import Codec, MediaUnit
from stream.worker_messages import OpenStream
from tests.consumers.verdicts_support import ended, verdict
from tests.memory_broker.broker import MemoryBroker
from tests.stream.sinks import Recorder, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

OPENED = OpenStream(stream="call-1", epoch=7, codec=Codec.VP8, rate_hz=2.0, phase=0.0)


def unit(sequence: int, keyframe: bool = False) -> MediaUnit:
    return MediaUnit(
        stream="call-1", epoch=7, sequence=sequence, codec=Codec.VP8, payload=b"frame %d" % sequence,
        pts_s=sequence / 30, capture_s=1_700_000_000 + sequence / 30, keyframe=keyframe or sequence == 0,
    )


@asynccontextmanager
async def running_edge(broker: MemoryBroker) -> AsyncIterator[Edge]:
    opened = Edge(broker, "media")
    try:
        yield opened
    finally:
        await opened.close()


async def items(broker: MemoryBroker) -> list[Item]:
    reader = await broker.reader(["media"])
    await reader.seek({PartitionId("media", p): 0 for p in range(2)})
    return [parse(r.key, r.value, r.headers) for r in await reader.take(10_000, 0.0)]


async def test_units_and_the_end_follow_the_contract() -> None:
    broker, sink = MemoryBroker({"media": 2}), Recorder()
    async with running_edge(broker) as edge:
        feed = edge.open(OPENED, sink)
        for sequence in range(40):
            feed.feed(unit(sequence))
        counts = await feed.close()
    *media, end = await items(broker)
    assert [item.identity.id for item in media] == [f"call-1/7/{n}" for n in range(40)]
    assert all(isinstance(item, Media) and item.payload == b"frame %d" % n for n, item in enumerate(media))
    assert [item.keyframe for item in media if isinstance(item, Media)] == [True] + [False] * 39
    assert [item.pts_s for item in media if isinstance(item, Media)] == [n * 3000 / 90_000 for n in range(40)]
    assert isinstance(end, EndOfStream)
    assert (end.identity.epoch, end.identity.sequence) == (7, 40)
    assert (counts.received, counts.dropped, sink.failures) == (40, {}, [])


async def test_an_outage_bounds_memory_and_resumes_at_a_key_frame() -> None:
    broker, sink = MemoryBroker({"media": 2}), Recorder()
    async with running_edge(broker) as edge:
        feed = edge.open(OPENED, sink)
        feed.feed(unit(0))
        await until(
            lambda: bool(broker.log.records(PartitionId("media", 0)) or broker.log.records(PartitionId("media", 1)))
        )
        broker.log.is_up = False
        for sequence in range(1, QUEUE_UNITS + 101):
            feed.feed(unit(sequence))
            await asyncio.sleep(0)
        assert feed.counts.dropped == {"queue_full": 100}
        broker.log.is_up = True
        await until(lambda: sum(len(broker.log.records(PartitionId("media", p))) for p in range(2)) == QUEUE_UNITS + 1)
        feed.feed(unit(QUEUE_UNITS + 101))
        feed.feed(unit(QUEUE_UNITS + 102, keyframe=True))
        await feed.close()
    sequences = [item.identity.sequence for item in await items(broker)]
    assert sequences == [*range(QUEUE_UNITS + 1), QUEUE_UNITS + 102, QUEUE_UNITS + 103]


async def test_key_frames_are_requested_while_units_are_dropped() -> None:
    broker, sink = MemoryBroker({"media": 2}), Recorder()
    broker.log.is_up = False
    async with running_edge(broker) as edge:
        feed = edge.open(OPENED, sink)
        for sequence in range(QUEUE_UNITS + 1):
            feed.feed(unit(sequence))
        await asyncio.sleep(1.05)
        feed.feed(unit(QUEUE_UNITS + 1))
        assert sink.keyframes_asked == 1
        feed.abandon()


async def test_a_broker_that_refuses_ends_the_stream(tmp_path: Path) -> None:
    config = KafkaConfig(bootstrap="127.0.0.1:9", security=Security.SSL, ca_file=tmp_path / "absent.pem")
    sink = Recorder()
    feed = Edge(KafkaBroker(config), "media").open(OPENED, sink)
    feed.feed(unit(0))
    await until(lambda: bool(sink.failures))
    await feed.close()
    (failure,) = sink.failures
    assert "certificates" in failure[1]


async def test_only_the_unit_that_is_too_large_is_dropped() -> None:
    broker, sink = MemoryBroker({"media": 2}, record_bytes=600), Recorder()
    async with running_edge(broker) as edge:
        feed = edge.open(OPENED, sink)
        for sequence in range(3):
            made = unit(sequence)
            feed.feed(made if sequence != 1 else msgspec.structs.replace(made, payload=bytes(700)))
        counts = await feed.close()
    assert [item.identity.sequence for item in await items(broker)] == [0, 2, 3]
    assert counts.dropped == {"too_large": 1}


def test_the_edge_publishes_no_verdicts() -> None:
    gap = StreamGap(stream="a", epoch=1, cause="packet_loss", from_s=0.0)
    for has_gateway, published in ((True, [gap]), (False, [ended("a"), gap])):
        edge = Edge(MemoryBroker({"media": 1}), "media", has_gateway)
        assert [event for event in (verdict("a", 1), ended("a"), gap) if edge.publishes_here(event)] == published
