"""One stream of a partition, at the moments that a whole consumer seldom meets."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from consumers.broker import PartitionId, Record
from consumers.claim_check import ClaimFetcher
from consumers.consumer_context import ConsumerContext, NoAlarmKeeper
from consumers.media_contract import EndOfStream, Stamp, encode
from consumers.retrying_writer import RetryingWriter
from consumers.stream_consumer import Arrival, StreamConsumer
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


def arrival(item: Media | EndOfStream) -> Arrival:
    return Arrival(Record(HERE, item.stamp.sequence, 0, *encode(item)), item)


@pytest.fixture
async def ground() -> Ground:
    return Ground()


@pytest.fixture
async def desk(ground: Ground) -> AsyncIterator[ConsumerContext]:
    claims = ClaimFetcher(CONFIG.claims)
    yield ConsumerContext(CONFIG, PayloadWorkers(), RetryingWriter(await ground.broker.writer(), 1.0), claims,
    NoAlarmKeeper())
    await claims.close()


def media(numbers: Iterable[int], epoch: int = EPOCH) -> list[Arrival]:
    return [arrival(frame("a", n, 2.0, b"picture", epoch)) for n in numbers]


def end(number: int, epoch: int = EPOCH) -> Arrival:
    return arrival(EndOfStream(Stamp("a", epoch, number, epoch + 1.0)))


async def run_through(run: StreamConsumer, arrivals: list[Arrival]) -> None:
    for each in arrivals:
        run.put(each)
    async with asyncio.timeout(10):
        await run.run()


async def test_a_record_that_comes_as_the_stream_times_out_is_not_forgotten(
    ground: Ground, desk: ConsumerContext
) -> None:
    run = StreamConsumer(HERE, "a", desk, None)
    run.put(media([0])[0])
    task = asyncio.create_task(run.run())
    try:
        await until(lambda: run.held_records == 0)
        await asyncio.sleep(0.01)
        run.time_out()
        await asyncio.sleep(CLOSING_S / 2)
        run.time_out()      # it is ending already
        run.put(media([1])[0])
        run.put(end(2))
        async with asyncio.timeout(10):
            await task
    finally:
        task.cancel()
    ends = [state.reason for state in ground.history("a") if isinstance(state, StreamEnded)]
    assert ends == [EndReason.SILENT, EndReason.END_OF_MEDIA]
    assert run.hold is None


async def test_an_epoch_before_the_one_that_is_known_says_nothing_again(ground: Ground, desk: ConsumerContext) -> None:
    """Another stream may have held the partition back, so that much is read again."""
    await run_through(StreamConsumer(HERE, "a", desk, None), [*media(range(9), EPOCH + 1), end(9, EPOCH + 1)])
    told, state = len(ground.verdicts()), ground.verdicts()[3]
    await run_through(StreamConsumer(HERE, "a", desk, state), [*media(range(9)), end(9)])
    assert len(ground.verdicts()) == told
    later = [*media(range(9)), *media(range(9), EPOCH + 1), end(9, EPOCH + 1)]
    await run_through(StreamConsumer(HERE, "a", desk, state), later)
    assert [v.sequence for v in ground.verdicts()[told:]] == list(range(4, 8))
