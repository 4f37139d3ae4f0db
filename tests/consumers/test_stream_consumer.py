"""StreamConsumer: rare timings and old epochs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from consumers.broker import PartitionId, Record
from consumers.claim_check import ClaimFetcher
from consumers.consumer_context import ConsumerContext, NoAlarmSink
from consumers.media_contract import EndOfStream, RecordIdentity, encode
from consumers.retrying_writer import RetryingWriter
from consumers.stream_consumer import ParsedRecord, StreamConsumer
from stream.events import StreamEnded
from stream.types import EndReason
from tests.consumers.media import EPOCH, frame
from tests.consumers.rig import CONFIG, TOPICS, Ground
from tests.consumers.workers import CLOSING_S, PayloadWorkers
from tests.stream.sinks import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from consumers.media_contract import Media

HERE = PartitionId(TOPICS.media, 0)


def parsed(item: Media | EndOfStream) -> ParsedRecord:
    return ParsedRecord(Record(HERE, item.identity.sequence, 0, *encode(item)), item)


@pytest.fixture
async def ground() -> Ground:
    return Ground()


@pytest.fixture
async def context(ground: Ground) -> AsyncIterator[ConsumerContext]:
    claims = ClaimFetcher(CONFIG.claims)
    yield ConsumerContext(CONFIG, PayloadWorkers(), RetryingWriter(await ground.broker.writer(), 1.0), claims,
    NoAlarmSink())
    await claims.close()


def media(numbers: Iterable[int], epoch: int = EPOCH) -> list[ParsedRecord]:
    return [parsed(frame("a", n, 2.0, b"picture", epoch)) for n in numbers]


def end(number: int, epoch: int = EPOCH) -> ParsedRecord:
    return parsed(EndOfStream(RecordIdentity("a", epoch, number, epoch + 1.0)))


async def consume(consumer: StreamConsumer, parsed_records: list[ParsedRecord]) -> None:
    for each in parsed_records:
        consumer.put(each)
    async with asyncio.timeout(10):
        await consumer.run()


async def test_a_record_that_arrives_during_a_timeout_is_processed(
    ground: Ground, context: ConsumerContext
) -> None:
    consumer = StreamConsumer(HERE, "a", context, None)
    consumer.put(media([0])[0])
    task = asyncio.create_task(consumer.run())
    try:
        await until(lambda: consumer.buffered_records == 0)
        await asyncio.sleep(0.01)
        consumer.time_out()
        await asyncio.sleep(CLOSING_S / 2)
        consumer.time_out()      # the stream is already ending
        consumer.put(media([1])[0])
        consumer.put(end(2))
        async with asyncio.timeout(10):
            await task
    finally:
        task.cancel()
    ends = [state.reason for state in ground.history("a") if isinstance(state, StreamEnded)]
    assert ends == [EndReason.SILENT, EndReason.END_OF_MEDIA]
    assert consumer.oldest_needed_offset is None


async def test_an_epoch_before_the_known_one_publishes_nothing(ground: Ground, context: ConsumerContext) -> None:
    """Another stream may have held back the committed offset, so old epochs are read again."""
    await consume(StreamConsumer(HERE, "a", context, None), [*media(range(9), EPOCH + 1), end(9, EPOCH + 1)])
    published, state = len(ground.verdicts()), ground.verdicts()[3]
    await consume(StreamConsumer(HERE, "a", context, state), [*media(range(9)), end(9)])
    assert len(ground.verdicts()) == published
    later = [*media(range(9)), *media(range(9), EPOCH + 1), end(9, EPOCH + 1)]
    await consume(StreamConsumer(HERE, "a", context, state), later)
    assert [v.sequence for v in ground.verdicts()[published:]] == list(range(4, 8))
