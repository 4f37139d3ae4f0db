"""Consumer with fake workers on the in-memory broker: order, ends, crashes, takeovers, outages."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from consumers.broker import Unreadable
from consumers.consumer import Consumer
from consumers.errors import BrokerRefused
from consumers.media_contract import ClaimCheck, EndOfStream, Item, Media, RecordIdentity
from consumers.poison_pills import TRIES
from stream.events import StreamEnded, Verdict
from stream.types import EndReason
from tests.consumers.media import EPOCH, frame
from tests.consumers.rig import CONFIG, Ground, consuming, finished, once
from tests.consumers.workers import BAD, CRASH, PayloadWorkers
from tests.memory_broker.broker import MemoryBroker
from tests.stream.sinks import until

if TYPE_CHECKING:
    from collections.abc import Iterable

IDLE_S = 0.5


def media(stream: str, numbers: Iterable[int], epoch: int = EPOCH, **payloads: bytes) -> list[Item]:
    """Returns numbered frames; `f7=b"..."` sets the payload of frame 7."""
    return [frame(stream, n, 2.0, payloads.get(f"f{n}", b"picture"), epoch) for n in numbers]


def end(stream: str, number: int, epoch: int = EPOCH) -> EndOfStream:
    return EndOfStream(RecordIdentity(stream, epoch, number, epoch + number / 2))


def whole(stream: str, frames: int, epoch: int = EPOCH, **payloads: bytes) -> list[Item]:
    return [*media(stream, range(frames), epoch, **payloads), end(stream, frames, epoch)]


def media_fields(verdicts: list[Verdict]) -> dict[str, object]:
    """Returns the media-dependent fields of each verdict, by id."""
    return {v.id: (v.coverage, v.samples, v.label, v.llr, v.faces, v.decision) for v in verdicts}


async def undisturbed(*streams: list[Item]) -> dict[str, object]:
    ground = Ground()
    for items in streams:
        await ground.write(items)
    async with consuming(ground, PayloadWorkers()):
        await finished(ground)
    assert len(media_fields(ground.verdicts())) == len(ground.verdicts())
    return media_fields(ground.verdicts())


async def test_a_record_is_rejected_after_its_third_crash() -> None:
    ground, workers = Ground(), PayloadWorkers()
    await ground.write(whole("a", 30, f12=CRASH))
    await ground.write(whole("b", 30))
    async with consuming(ground, workers):
        await finished(ground)
    (letter,) = ground.dead_letters()
    assert (letter["error"], letter["attempts"]) == (b"kills_worker", b"%d" % TRIES)
    assert workers.crashes == TRIES
    assert media_fields(once(ground.verdicts("b"))) == await undisturbed(whole("b", 30)), "other streams are unaffected"
    hurt = once(ground.verdicts("a"))
    assert [v.sequence for v in hurt] == list(range(29))
    assert [v.coverage == 1 for v in hurt].count(False) > 0


async def test_worker_losses_without_a_culprit_reject_no_record() -> None:
    ground, workers = Ground(), PayloadWorkers()
    await ground.write(whole("a", 40))
    async with consuming(ground, workers):
        for share in (1, 10, 20):
            await until(lambda share=share: len(ground.verdicts()) >= share)
            workers.crash(None)
        await finished(ground)
    assert media_fields(once(ground.verdicts())) == await undisturbed(whole("a", 40))
    assert ground.dead_letters() == []


async def test_only_the_first_of_consecutive_bad_records_is_a_dead_letter() -> None:
    ground = Ground()
    await ground.write(whole("a", 30, f0=BAD, f10=BAD, f11=BAD, f12=BAD, f20=BAD))
    async with consuming(ground, PayloadWorkers()):
        await finished(ground)
    assert [letter["offset"] for letter in ground.dead_letters()] == [b"0", b"10", b"20"]
    assert {letter["error"] for letter in ground.dead_letters()} == {b"decode_error"}


async def test_a_successor_continues_without_gaps_or_changes() -> None:
    items, seed = whole("a", 120), random.Random(3)
    ground = Ground()
    expected = await undisturbed(items)
    for start in range(0, len(items), 11):
        await ground.write(items[start : start + 11])
        async with consuming(ground, PayloadWorkers()):
            await until(lambda start=start: len(ground.verdicts()) >= start - 1)
            await asyncio.sleep(seed.uniform(0, 0.1))
    async with consuming(ground, PayloadWorkers()):
        await finished(ground)
    assert media_fields(ground.verdicts()) == expected
    assert len(ground.verdicts()) == len(expected), "and with the state known, nothing is published twice"


async def test_a_new_member_takes_over_its_share() -> None:
    streams = [whole(name, 100) for name in ("a", "b", "c", "d")]
    ground = Ground()
    for items in streams:
        await ground.write(items[:60])
    async with consuming(ground, PayloadWorkers()), asyncio.TaskGroup() as tasks:
        await until(lambda: len(ground.verdicts()) > 100)
        async with consuming(ground, PayloadWorkers()):
            for items in streams:
                tasks.create_task(ground.write(items[60:]))
            await finished(ground)
    assert media_fields(once(ground.verdicts())) == await undisturbed(*streams)


async def test_an_outage_delays_verdicts_and_loses_none() -> None:
    ground, workers = Ground(), PayloadWorkers()
    items = whole("a", 400)
    await ground.write(items[:300])
    async with consuming(ground, workers):
        for least in (1, 100, 200):
            await until(lambda least=least: len(ground.verdicts()) >= least)
            ground.broker.log.is_up = False
            await asyncio.sleep(0.5)
            seen = len(ground.verdicts())
            await asyncio.sleep(0.2)
            assert len(ground.verdicts()) == seen
            ground.broker.log.is_up = True
        await ground.write(items[300:])
        await finished(ground)
    assert media_fields(ground.verdicts()) == await undisturbed(items)
    assert workers.most_waiting <= CONFIG.units_in_flight


async def test_reading_pauses_while_workers_are_busy() -> None:
    ground, workers = Ground(), PayloadWorkers()
    workers.are_stuck = True
    config = replace(CONFIG, buffered_records=50, batch=10)
    await ground.write(whole("a", 1000))
    async with consuming(ground, workers, config) as consumer:
        await until(lambda: workers.most_waiting == config.units_in_flight)
        await asyncio.sleep(1)
        assert sum(p.held for p in consumer.status.partitions) <= config.buffered_records + config.batch
        assert workers.most_waiting == config.units_in_flight
        workers.unstick()
        await finished(ground)
    assert len(ground.verdicts()) == 999


async def test_a_worker_lost_during_a_pause_does_not_stall_the_partition() -> None:
    ground, workers = Ground(), PayloadWorkers()
    workers.are_stuck = True
    await ground.write(whole("a", 300))
    async with consuming(ground, workers, replace(CONFIG, buffered_records=50)) as consumer:
        await until(lambda: sum(p.held for p in consumer.status.partitions) >= 50)
        await asyncio.sleep(0.5)
        workers.are_stuck = False
        workers.crash(None)
        await finished(ground)
    assert [v.sequence for v in ground.verdicts()] == list(range(299))


async def test_an_idle_stream_ends_and_releases_its_offsets() -> None:
    ground = Ground()
    await ground.write(media("a", range(20)))
    async with consuming(ground, PayloadWorkers(), replace(CONFIG, idle_s=IDLE_S)):
        await finished(ground)
        await until(lambda: ground.states() == {"a": None})
        ends = [event for event in ground.history("a") if isinstance(event, StreamEnded)]
        assert [event.reason for event in ends] == [EndReason.SILENT]
        await ground.write([*media("a", range(20, 40)), end("a", 40)])
        await finished(ground)
    verdicts = ground.verdicts()
    assert once(verdicts) == verdicts, "when it goes on, nothing is published again"
    assert verdicts[-1].sequence == 38


async def test_a_new_epoch_ends_the_previous_one_and_late_records_are_dropped() -> None:
    ground = Ground()
    await ground.write([
        *media("a", range(10)), *media("a", range(4, 12)), *whole("a", 10, EPOCH + 5), *media("a", range(12, 20)),
        *media("a", range(3), EPOCH + 5),
    ])
    async with consuming(ground, PayloadWorkers()):
        await finished(ground)
    reasons = [event.reason for event in ground.history("a") if isinstance(event, StreamEnded)]
    assert reasons == [EndReason.PUBLISHER_LEFT, EndReason.END_OF_MEDIA]
    first, second = ([v for v in ground.verdicts() if v.epoch == epoch] for epoch in (EPOCH, EPOCH + 5))
    assert [v.sequence for v in first] == list(range(11))
    assert [v.sequence for v in second] == list(range(9))
    assert first[-1].frames.received == 12, "repeats are not examined again"
    assert {v.coverage for v in first[1:-1]} == {1.0}


async def test_media_without_verdicts_is_released_after_replay_s() -> None:
    ground = Ground()
    await ground.write(media("a", range(100), **{f"f{n}": BAD for n in range(100)}))
    async with consuming(ground, PayloadWorkers(), replace(CONFIG, replay_s=10.0)):
        await until(lambda: max(ground.committed().values(), default=0) == 99 - 2 * 10)


async def test_a_gap_lowers_coverage_and_delays_nothing() -> None:
    ground = Ground()
    await ground.write([*media("a", range(10)), *media("a", range(13, 30)), end("a", 30)])
    async with consuming(ground, PayloadWorkers()):
        await finished(ground)
    coverages = {v.sequence: v.coverage for v in ground.verdicts()}
    assert min(coverages.values()) < 1
    assert coverages[27] == 1


async def test_units_that_are_too_large_or_change_the_codec_are_rejected() -> None:
    ground = Ground()
    items = whole("a", 20)
    assert isinstance(items[5], Media)
    await ground.write([*items[:5], replace(items[5], payload=b"x" * 1001), *items[6:]])
    async with consuming(ground, PayloadWorkers(), replace(CONFIG, unit_bytes=1000)):
        await finished(ground)
    assert [letter["error"] for letter in ground.dead_letters()] == [b"too_large"]


async def test_a_forbidden_reference_is_a_dead_letter() -> None:
    ground = Ground()
    items = whole("a", 20)
    media_item = items[5]
    assert isinstance(media_item, Media)
    await ground.write(items[:5])
    await ground.write([ClaimCheck(replace(media_item, payload=b""), "http://169.254.169.254/latest/meta-data")])
    await ground.write(items[6:])
    async with consuming(ground, PayloadWorkers()):
        await finished(ground)
    (letter,) = ground.dead_letters()
    assert (letter["stage"], letter["error"]) == (b"fetch", b"refused_reference")


async def test_an_unreadable_batch_is_a_dead_letter_and_lost_coverage() -> None:
    """Its offsets are committed, and the coverage of the windows around it drops."""
    ground = Ground()
    await ground.write(whole("a", 60))
    partitions = [ground.broker.log.records(each) for each in ground.broker.log.partition_ids(["media"])]
    (log,) = [records for records in partitions if records]
    log[20] = log[20]._replace(key=None, value=None, headers=(), unreadable=Unreadable(20, "ValueError: damaged"))
    async with consuming(ground, PayloadWorkers()):
        await finished(ground)
    (letter,) = ground.dead_letters()
    assert (letter["stage"], letter["error"]) == (b"read", b"unreadable_batch")
    assert (letter["offset"], letter["last_offset"]) == (b"20", b"20")
    verdicts = once(ground.verdicts())
    assert min(verdict.coverage for verdict in verdicts) < 1.0
    assert max(verdict.end_s for verdict in verdicts) >= 29


@pytest.mark.parametrize(("topics", "words"), [
    ({"media": 2, "verdicts": 3, "stream-state": 2, "media.dlq": 1}, "same number of partitions: media has 2, verd"),
    ({"media": 2, "verdicts": 2, "media.dlq": 1}, "stream-state"),
])
async def test_missing_or_unequal_topics_are_named(topics: dict[str, int], words: str) -> None:
    consumer = Consumer(MemoryBroker(topics), PayloadWorkers(), CONFIG)
    with pytest.raises(BrokerRefused, match=words):
        await consumer.run(asyncio.Event())
