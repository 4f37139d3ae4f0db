"""One stream between its source and a real worker; skipping temporal layers loses no sample."""

from __future__ import annotations

import asyncio
import time

import pytest

from stream.config import StreamConfig
from stream.event_bus import EventBus
from stream.frame_sampler import Pace
from stream.identity import StreamIdentity
from stream.stream_service import StreamService
from stream.stream_session import Session, StreamSpec
from stream.types import Codec, DropCause, EndReason
from stream.worker_pool import PoolConfig, WorkerPool
from tests.stream.layered import layered_units

SECONDS, FPS, SPEED = 6, 30, 2


class Peer:
    """A source that counts key-frame requests."""

    def __init__(self) -> None:
        self.keyframes = 0

    def request_keyframe(self) -> None:
        self.keyframes += 1

    async def close(self) -> None:
        """No-op: there is no connection to close."""


async def play(session: Session, frames: int) -> None:
    began_s = time.monotonic()
    for n, (unit, layer) in enumerate(layered_units("call", frames)):
        await asyncio.sleep(max(0.0, began_s + n / FPS / SPEED - time.monotonic()))
        session.feed(unit.payload, unit.pts_s, unit.keyframe, time.time(), layer)


@pytest.mark.slow
async def test_unneeded_temporal_layers_are_skipped_without_loss_of_coverage() -> None:
    service = StreamService(StreamConfig(), WorkerPool(PoolConfig(workers=1)), EventBus())
    await service.start()
    peer = Peer()
    session = service.open(StreamSpec(identity=StreamIdentity("call"), source="test", codec=Codec.VP8), peer)
    await play(session, SECONDS * FPS)
    await session.end(EndReason.STOPPED)
    await service.close()
    frames, verdict = session.frames, session.verdict
    assert frames.received == SECONDS * FPS
    assert frames.skipped == pytest.approx((SECONDS - 1) * FPS * 3 / 4, abs=6), "a second is needed to know the layers"
    assert frames.decoded == frames.received - frames.skipped
    assert frames.dropped.keys() <= {DropCause.SUPERSEDED}, "and that only on a machine that is behind"
    assert verdict is not None
    assert verdict.coverage >= 0.9
    assert 0 < verdict.frames.skipped <= frames.skipped
    assert peer.keyframes == 0, "nothing was lost"


async def test_a_denser_pace_needs_more_layers() -> None:
    service = StreamService(StreamConfig(), WorkerPool(PoolConfig(workers=1)), EventBus())
    session = service.open(StreamSpec(identity=StreamIdentity("call"), source="test", codec=Codec.VP8), Peer())
    skipped = []
    for unit, layer in layered_units("call", 150):
        if unit.sequence == 90:
            session.set_pace(Pace.FAST)
        session.feed(unit.payload, unit.pts_s, unit.keyframe, time.time(), layer)
        skipped.append(session.frames.skipped)
    assert skipped[29] == 0
    assert skipped[89] - skipped[33] == 14 * 3
    assert skipped[149] - skipped[93] == 14 * 2, "5 samples/s need the frames of the middle layer too"
    assert session.frames.received == 150
    await session.end(EndReason.STOPPED)


async def test_a_stream_that_waits_for_a_worker_counts_as_late() -> None:
    service = StreamService(StreamConfig(), WorkerPool(PoolConfig(workers=1, unit_queue=8)), EventBus())
    session = service.open(StreamSpec(identity=StreamIdentity("call"), source="test", codec=Codec.VP8), Peer())
    units = [unit for unit, _ in layered_units("call", 60)]
    for unit in units[:30]:
        session.feed(unit.payload, unit.pts_s, unit.keyframe, time.time())
    assert session.load(time.monotonic()).age_ms is None, "its first verdict is not due yet"
    assert session.frames.dropped == {DropCause.QUEUE_FULL: 30}
    began_s = time.monotonic()
    for unit in units[30:]:
        await asyncio.sleep(1.5 / 30)
        session.feed(unit.payload, unit.pts_s, unit.keyframe, time.time())
    age_ms = session.load(time.monotonic()).age_ms
    assert age_ms is not None, "although nothing waits any more: all was dropped, up to the next key frame"
    assert 400 <= age_ms <= (time.monotonic() - began_s) * 1000
    session.gap(DropCause.WORKER_LOST)
    assert session.load(time.monotonic()).age_ms is None, "a lost worker is no sign of load"
    await session.end(EndReason.STOPPED)


async def test_a_stream_counts_as_starting_for_ten_seconds() -> None:
    service = StreamService(StreamConfig(), WorkerPool(PoolConfig(workers=1)), EventBus())
    session = service.open(StreamSpec(identity=StreamIdentity("call"), source="test", codec=Codec.VP8), Peer())
    now_s = time.monotonic()
    assert session.is_starting(now_s + 9)
    assert not session.is_starting(now_s + 11), "without a verdict it counts for ten seconds"
    await session.end(EndReason.STOPPED)
