"""Producer: files and loops in a topic, with pace, stop and outages."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from consumers.broker import PartitionId
from consumers.errors import RecordTooLarge, SourceUnreadable
from consumers.media_contract import EndOfStream, Item, Media, parse
from consumers.producer import Progress, Publication, produce
from consumers.record_form import RecordForm
from consumers.segmenter import SegmenterOptions
from tests.memory_broker.broker import MemoryBroker
from tests.synthetic import Clip, video

if TYPE_CHECKING:
    from pathlib import Path

CLIP = Clip(frames=30, gop=15)


@pytest.fixture
def clip(tmp_path: Path) -> str:
    return str(video(tmp_path / "clip.mp4", CLIP))


def ignore(_: Progress) -> None:
    pass


async def items(broker: MemoryBroker) -> list[Item]:
    reader = await broker.reader(["media"])
    await reader.seek({PartitionId("media", p): 0 for p in range(3)})
    records = await reader.take(10_000, 0.0)
    assert len({record.partition_id for record in records}) <= 1       # one key, one partition
    assert {record.key for record in records} <= {b"call-1"}
    return [parse(record.key, record.value, record.headers) for record in records]


def broker(record_bytes: int = 8 * 2**20) -> MemoryBroker:
    return MemoryBroker({"media": 3}, record_bytes)


@pytest.mark.parametrize(
    ("form", "records"), [(RecordForm.FRAMES, 30), (RecordForm.UNITS, 30), (RecordForm.SEGMENTS, 1)]
)
async def test_a_whole_file_is_published_in_the_contract(clip: str, form: RecordForm, records: int) -> None:
    target, reports = broker(), []
    before_s = time.time()
    publication = Publication(clip, "media", "call-1", SegmenterOptions(form))
    done = await produce(await target.writer(), publication, reports.append)
    *media, end = await items(target)
    assert [item.identity.sequence for item in media] == list(range(records))
    assert isinstance(end, EndOfStream)
    assert (end.identity.sequence, end.reason) == (records, "end_of_media")
    assert len({item.identity.epoch for item in [*media, end]}) == 1
    assert all(isinstance(item, Media) and item.kind == form.removesuffix("s") for item in media)
    assert all(before_s - 1 <= item.identity.capture_s <= time.time() + 1 for item in media)
    assert done == reports[-1]
    assert (done.records, done.media_s) == (records, pytest.approx(1.0, abs=0.01))
    assert done.payload_bytes == sum(len(item.payload) for item in media if isinstance(item, Media))


async def test_a_second_run_is_a_later_epoch(clip: str) -> None:
    target = broker()
    for _ in range(2):
        publication = Publication(clip, "media", "call-1", SegmenterOptions(RecordForm.SEGMENTS))
        await produce(await target.writer(), publication, ignore)
    first, _, second, _ = await items(target)
    assert second.identity.epoch > first.identity.epoch
    assert second.identity.sequence == 0


async def test_paced_publishing_keeps_media_time(clip: str) -> None:
    target, start_s = broker(), time.monotonic()
    publication = Publication(clip, "media", "call-1", SegmenterOptions(RecordForm.UNITS), is_paced=True)
    await produce(await target.writer(), publication, ignore)
    assert time.monotonic() - start_s >= 29 / 30
    captured = [item.identity.capture_s for item in await items(target)]
    assert captured[29] - captured[0] >= 0.9


async def test_a_loop_continues_one_stream_until_stopped(clip: str) -> None:
    target = broker()
    publication = Publication(clip, "media", "call-1", SegmenterOptions(RecordForm.UNITS), is_looped=True)

    def stop_at_70(progress: Progress) -> None:
        if progress.records == 70:
            publication.stop.set()

    done = await produce(await target.writer(), publication, stop_at_70)
    *media, end = await items(target)
    assert done.records == len(media) == 70
    assert [item.identity.sequence for item in media] == list(range(70))
    assert [item.pts_s for item in media if isinstance(item, Media)] == pytest.approx([n / 30 for n in range(70)])
    assert isinstance(end, EndOfStream)
    assert end.reason == "stopped"


async def test_an_outage_is_waited_out_without_loss(clip: str) -> None:
    target, reports = broker(), []
    writer = await target.writer()

    def follow(progress: Progress) -> None:
        reports.append(progress)
        if progress.problem:
            target.log.is_up = True
        elif progress.records == 10:
            target.log.is_up = False

    await produce(writer, Publication(clip, "media", "call-1", SegmenterOptions(RecordForm.UNITS)), follow)
    assert any(progress.problem for progress in reports)
    assert [item.identity.sequence for item in await items(target)] == list(range(31))


async def test_a_record_that_is_too_large_ends_the_stream_as_failed(clip: str) -> None:
    target = broker(record_bytes=600)
    publication = Publication(clip, "media", "call-1", SegmenterOptions(RecordForm.SEGMENTS))
    with pytest.raises(RecordTooLarge):
        await produce(await target.writer(), publication, ignore)
    (end,) = await items(target)
    assert isinstance(end, EndOfStream)
    assert end.reason == "failed"


async def test_an_unreadable_source_is_refused(tmp_path: Path) -> None:
    target = broker()
    publication = Publication(str(tmp_path / "absent.mp4"), "media", "call-1", SegmenterOptions(RecordForm.UNITS))
    with pytest.raises(SourceUnreadable):
        await produce(await target.writer(), publication, ignore)


async def test_publishing_can_be_stopped_while_waiting(clip: str) -> None:
    target = broker()
    publication = Publication(
        clip, "media", "call-1", SegmenterOptions(RecordForm.SEGMENTS), is_paced=True, is_looped=True
    )
    task = asyncio.create_task(produce(await target.writer(), publication, lambda _: publication.stop.set()))
    done = await asyncio.wait_for(task, 20)
    assert done.records == 1
