"""The pool's queue of one stream, in front of a slow worker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from stream.types import Codec, DropCause, FrameCounts
from stream.worker_messages import Consumed, FeedUnit
from stream.worker_pool_config import PoolConfig
from stream.worker_stream import WorkerStream
from tests.stream.pools import clip, spec
from tests.stream.sinks import Recorder
from tests.synthetic import units

if TYPE_CHECKING:
    from stream.types import MediaUnit
    from stream.worker_messages import ToWorker

WAIT_S = 0.2


class Behind:
    """A worker that consumes nothing until the test says so."""

    def __init__(self) -> None:
        self.units: list[FeedUnit] = []

    def send(self, message: ToWorker) -> None:
        if isinstance(message, FeedUnit):
            self.units.append(message)

    @property
    def sequences(self) -> list[int]:
        return [message.unit.sequence for message in self.units]


def opened(unit_wait_s: float | None = WAIT_S) -> tuple[WorkerStream, Behind, Recorder]:
    config = PoolConfig(unit_credits=4, unit_wait_s=unit_wait_s)
    recorder, worker = Recorder(), Behind()
    return WorkerStream(spec("s"), recorder, config, lambda _: None), worker, recorder


def media() -> list[MediaUnit]:
    """Returns 40 units; 0, 15 and 30 are key frames."""
    return units("s", Codec.H264, clip(Codec.H264, 40, gop=15))


def feed(stream: WorkerStream, fed: list[MediaUnit]) -> None:
    for unit in fed:
        stream.feed(unit)


def consumed(count: int) -> Consumed:
    return Consumed(stream="s", epoch=1, units=count, counts=FrameCounts())


async def test_late_live_media_is_dropped_up_to_the_newest_key_frame() -> None:
    stream, worker, recorder = opened()
    stream.attach(worker)
    feed(stream, media()[:14])
    assert (worker.sequences, stream.waiting) == ([0, 1, 2, 3], 14)
    await asyncio.sleep(WAIT_S * 1.5)
    feed(stream, media()[14:22])
    assert recorder.gaps == [DropCause.QUEUE_FULL]
    stream.on_message(consumed(4))
    stream.on_message(consumed(4))
    assert worker.sequences[4:] == [15, 16, 17, 18, 19, 20, 21]
    assert stream.counts.dropped == {"queue_full": 11}


async def test_a_late_key_frame_is_dropped_too() -> None:
    stream, worker, recorder = opened()
    stream.attach(worker)
    feed(stream, media()[:20])
    await asyncio.sleep(WAIT_S * 1.5)
    feed(stream, media()[20:32])
    assert recorder.keyframes_asked == 1
    stream.on_message(consumed(4))
    assert worker.sequences == [0, 1, 2, 3, 30, 31]


async def test_without_a_queued_key_frame_units_are_dropped_up_to_the_next_one() -> None:
    stream, worker, recorder = opened()
    stream.attach(worker)
    feed(stream, media()[:10])
    await asyncio.sleep(WAIT_S * 1.5)
    feed(stream, media()[10:17])
    assert recorder.keyframes_asked == 1
    stream.on_message(consumed(4))
    assert worker.sequences == [0, 1, 2, 3, 15, 16]
    assert stream.counts.dropped == {"queue_full": 11}


async def test_units_that_waited_for_a_worker_start_are_not_late() -> None:
    stream, worker, recorder = opened()
    feed(stream, media()[:10])
    await asyncio.sleep(WAIT_S * 1.5)
    stream.attach(worker)
    feed(stream, media()[10:12])
    stream.on_message(consumed(4))
    assert worker.sequences == list(range(8))
    assert recorder.gaps == []


async def test_the_worker_gets_the_waiting_time_of_each_unit() -> None:
    stream, worker, _ = opened()
    stream.attach(worker)
    feed(stream, media()[:5])
    await asyncio.sleep(WAIT_S / 2)
    stream.on_message(consumed(4))
    assert all(message.waited_s < 0.02 for message in worker.units[:4])
    assert WAIT_S / 2 <= worker.units[4].waited_s < 2.0


async def test_recorded_media_may_wait() -> None:
    stream, worker, recorder = opened(unit_wait_s=None)
    stream.attach(worker)
    feed(stream, media()[:20])
    await asyncio.sleep(WAIT_S * 1.5)
    feed(stream, media()[20:])
    for _ in range(10):
        stream.on_message(consumed(4))
    assert worker.sequences == list(range(40))
    assert all(message.waited_s == 0 for message in worker.units)
    assert recorder.gaps == []
    assert stream.waiting == 0
