"""Stream service with real workers and the real sample call."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from stream.config import StreamConfig
from stream.errors import MediaRefused, ServiceDraining, ServiceFull, StreamExists, StreamUnknown
from stream.event_bus import EventBus, Selection
from stream.events import Label, StreamEnded, StreamGap, StreamStalled, StreamStarted, Verdict
from stream.file_verdict import JudgeOptions
from stream.identity import StreamIdentity
from stream.load_controller import LoadControllerConfig
from stream.stream_service import StreamService
from stream.stream_session import Session, StreamSpec
from stream.types import Codec, DropCause, EndReason
from stream.worker_pool import PoolConfig, WorkerPool
from tests.machine import queued_s
from tests.stream.units import SAMPLE_CALL, sample_units

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from stream.events import Event

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

AHEAD_S = 0.55      # how far feeding runs ahead of the newest verdict: one sampling interval and one frame
# Other tests cover load; here every stream keeps its base pace on slow machines, too.
CONFIG = StreamConfig(max_streams=3, max_jobs=1, load=LoadControllerConfig(late_ms=60_000))


def call(stream: str) -> StreamSpec:
    return StreamSpec(identity=StreamIdentity(stream), source="test", codec=Codec.H264)


class Peer:
    """A source that counts key-frame requests and closes."""

    def __init__(self) -> None:
        self.keyframes = 0
        self.closed = 0

    def request_keyframe(self) -> None:
        self.keyframes += 1

    async def close(self) -> None:
        self.closed += 1


class Recorder:
    """Collects all events of the bus."""

    def __init__(self, bus: EventBus) -> None:
        self.events: list[Event] = []
        self._subscription = bus.subscribe(Selection())
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        while True:
            self.events.append((await self._subscription.next()).event)

    def verdicts(self, stream: str) -> list[Verdict]:
        return [e for e in self.events if isinstance(e, Verdict) and e.stream == stream]

    async def stop(self) -> None:
        await asyncio.sleep(0)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


class Running:
    def __init__(self) -> None:
        self.bus = EventBus()
        self.pool = WorkerPool(PoolConfig(workers=2))
        self.service = StreamService(CONFIG, self.pool, self.bus)
        self.recorder = Recorder(self.bus)

    def open(self, stream: str) -> tuple[Session, Peer]:
        peer = Peer()
        return self.service.open(call(stream), peer), peer


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    running = Running()
    await running.service.start()
    yield running
    await running.service.close()
    await running.recorder.stop()


async def play(session: Session, seconds: float, speed: float = 4.0, origin_s: float = 0.0) -> None:
    """Feeds the sample call at `speed` times its frame rate."""
    started_s = time.monotonic()
    for unit in sample_units(seconds):
        await asyncio.sleep(max(0.0, unit.pts_s / speed - (time.monotonic() - started_s)))
        session.feed(unit.payload, origin_s + unit.pts_s, unit.keyframe, time.time())


async def play_at_worker_speed(session: Session, seconds: float) -> None:
    """Feeds the sample call as fast as the worker analyses it, so that a slow machine loses no sample."""
    for unit in sample_units(seconds):
        async with asyncio.timeout(20):
            while unit.pts_s - (session.preview.pts_s if session.preview else 0.1 - AHEAD_S) > AHEAD_S:
                await asyncio.sleep(0.005)
        session.feed(unit.payload, unit.pts_s, unit.keyframe, time.time())


async def test_a_call_gets_verdicts_from_its_first_frame_to_its_end(running: Running) -> None:
    session, _ = running.open("call")
    await play_at_worker_speed(session, 6.0)
    await session.end(EndReason.PUBLISHER_LEFT)
    await session.end(EndReason.STOPPED)
    await asyncio.sleep(0)
    verdicts = running.recorder.verdicts("call")
    assert isinstance(running.recorder.events[0], StreamStarted)
    ended = running.recorder.events[-1]
    assert isinstance(ended, StreamEnded)
    assert ended.reason is EndReason.PUBLISHER_LEFT
    assert ended.frames.received == len(sample_units(6.0))
    assert len(verdicts) >= 10
    assert [v.sequence for v in verdicts] == sorted({v.sequence for v in verdicts})
    assert all(len(v.faces) == 1 for v in verdicts), "one person is on the call"
    assert all(v.coverage > 0.9 for v in verdicts)
    assert all((v.model is None) == (v.prob_fake is None) for v in verdicts)


async def test_a_stream_is_listed_while_it_runs_and_after_its_end(running: Running) -> None:
    session, peer = running.open("call")
    await play(session, 3.0)
    while running.service.get("call").verdict is None:
        await asyncio.sleep(0.05)
    (info,) = running.service.list()
    assert (info.state, info.width_px, info.height_px) == ("live", 640, 360)
    preview = running.service.preview("call")
    assert preview is not None
    assert preview.jpeg.startswith(b"\xff\xd8")
    await running.service.stop("call")
    assert peer.closed == 1
    assert running.service.get("call").state == "ended"
    assert running.service.preview("call") is not None, "the last frame stays visible for a while"
    with pytest.raises(StreamUnknown):
        running.service.preview("another")
    with pytest.raises(StreamUnknown):
        await running.service.stop("call")


async def test_an_id_is_unique_and_every_start_is_a_new_epoch(running: Running) -> None:
    first, _ = running.open("call")
    with pytest.raises(StreamExists):
        running.open("call")
    await first.end(EndReason.PUBLISHER_LEFT)
    second, _ = running.open("call")
    assert second.epoch > first.epoch


async def test_streams_beyond_the_limit_are_refused_with_retry_after(running: Running) -> None:
    for n in range(CONFIG.max_streams):
        running.open(f"call-{n}")
    with pytest.raises(ServiceFull) as refusal:
        running.open("one-too-many")
    assert refusal.value.retry_after_s > 0


async def test_few_streams_may_start_at_once() -> None:
    service = StreamService(StreamConfig(max_streams=100), WorkerPool(PoolConfig(workers=1)), EventBus())
    admitted: list[Session] = []
    for n in range(8):
        service.check_admission(f"call-{n}")
        admitted.append(service.open(call(f"call-{n}"), Peer()))
    with pytest.raises(ServiceFull, match="starting") as refusal:
        service.check_admission("call-8")
    assert refusal.value.retry_after_s <= 3
    late = service.open(call("late"), Peer())     # admitted earlier
    for session in (*admitted, late):
        await session.end(EndReason.STOPPED)
    service.check_admission("call-9")


async def test_a_killed_worker_is_replaced_and_only_its_stream_shows_a_gap(running: Running) -> None:
    while running.service.status.workers_ready < 2:
        await asyncio.sleep(0.05)
    calls = [running.open("a")[0], running.open("b")[0]]
    players = [asyncio.create_task(play(call, 8.0, speed=1.0)) for call in calls]
    await asyncio.sleep(3.0)
    known = set(running.pool.status.pids)
    os.kill(running.pool.status.pids[0], signal.SIGKILL)
    killed_s, queued_before_s = time.monotonic(), queued_s()
    while running.pool.status.restarts == 0 or running.service.status.workers_ready < 2:
        await asyncio.sleep(0.02)
    (fresh,) = set(running.pool.status.pids) - known
    queue_s = queued_s() - queued_before_s + queued_s(fresh)
    assert time.monotonic() - killed_s - queue_s <= 3.0, f"{queue_s:.1f} s more for want of a core"
    await asyncio.gather(*players)
    for call in calls:
        await call.end(EndReason.PUBLISHER_LEFT)
    await asyncio.sleep(0)
    hit = {e.stream for e in running.recorder.events if isinstance(e, StreamGap) and e.cause == "worker_lost"}
    assert len(hit) == 1
    spared = ({"a", "b"} - hit).pop()
    for verdict in running.recorder.verdicts(spared):
        assert set(verdict.frames.dropped) <= {"superseded"}, "but for a slow machine it misses nothing"
        assert verdict.wanted - verdict.samples <= verdict.frames.dropped.get(DropCause.SUPERSEDED, 0)
    assert running.recorder.verdicts(hit.pop())[-1].end_s > 5.0, "the stream goes on in another worker"


async def test_a_silent_call_is_reported_once_and_recovers(running: Running) -> None:
    session, _ = running.open("call")
    await play(session, 2.0)
    silent_s = time.monotonic()
    while not any(isinstance(e, StreamStalled) for e in running.recorder.events):
        await asyncio.sleep(0.05)
    assert 4.9 <= time.monotonic() - silent_s <= 9.0
    await asyncio.sleep(1.5)
    before = len(running.recorder.verdicts("call"))
    await play(session, 2.0, origin_s=2.0)
    await session.end(EndReason.PUBLISHER_LEFT)
    await asyncio.sleep(0)
    assert sum(isinstance(e, StreamStalled) for e in running.recorder.events) == 1
    assert len(running.recorder.verdicts("call")) > before


async def test_files_are_judged_with_progress(running: Running) -> None:
    seen: list[tuple[int, int]] = []
    verdict = await running.service.judge(
        SAMPLE_CALL, JudgeOptions(max_samples=8), lambda done, planned: seen.append((done, planned))
    )
    assert verdict.file_type == "video"
    assert verdict.frames_analyzed == 8
    assert verdict.faces_detected == 8
    assert seen[-1] == (8, 8)
    assert verdict.label in set(Label) - {Label.NO_FACE}


async def test_a_file_without_media_is_refused(running: Running, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"not a film")
    with pytest.raises(MediaRefused) as refusal:
        await running.service.judge(path, JudgeOptions())
    assert refusal.value.status == 415


async def test_files_beyond_the_limit_are_refused_at_once(running: Running) -> None:
    first = asyncio.create_task(running.service.judge(SAMPLE_CALL, JudgeOptions(max_samples=2)))
    await asyncio.sleep(0)
    with pytest.raises(ServiceFull):
        await running.service.judge(SAMPLE_CALL, JudgeOptions(max_samples=2))
    assert (await first).frames_analyzed == 2


async def test_shutdown_ends_every_stream_after_its_last_verdict() -> None:
    running = Running()
    await running.service.start()
    session, peer = running.open("call")
    await play(session, 2.0)
    await running.service.close()
    await running.recorder.stop()
    assert peer.closed == 1
    assert isinstance(running.recorder.events[-1], StreamEnded)
    assert running.recorder.events[-1].reason is EndReason.SHUTDOWN
    assert running.recorder.verdicts("call")
    with pytest.raises(ServiceDraining):
        running.open("late")
