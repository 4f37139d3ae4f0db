"""Streams and files through real worker processes that survive."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
import pytest_asyncio

from stream.errors import StreamExists
from stream.frame_sampler import Pace, SamplingGrid, wanted_at_or_before
from stream.media_limits import MediaLimits
from stream.types import Codec, DropCause, MediaUnit
from stream.worker_messages import FileFrame
from stream.worker_pool import PoolConfig, WorkerPool
from tests.stream.pools import CODECS, clip, judged, request, running, spec
from tests.stream.sinks import Recorder, publish, until
from tests.synthetic import Clip, picture, units, video

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.asyncio(loop_scope="module")
FACES = Path(__file__).resolve().parents[1] / "media"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool() -> AsyncIterator[WorkerPool]:
    """Two workers that serve all tests of this file; at the end, none may have died."""
    async with running(PoolConfig(workers=2)) as shared:
        yield shared
        assert shared.status.restarts == 0


def still(number: int, payload: bytes) -> MediaUnit:
    return MediaUnit(
        stream="stills", epoch=1, sequence=number, codec=Codec.JPEG, payload=payload, pts_s=float(number),
        capture_s=0.0, keyframe=True,
    )


async def test_streams_of_both_codecs_are_sampled_on_their_grid(pool: WorkerPool) -> None:
    grid = SamplingGrid(5.0, spec("s").phase)
    recorders = {codec: Recorder() for codec in CODECS}
    streams = {codec: pool.open(spec(codec.value, codec, rate_hz=5.0), recorders[codec]) for codec in CODECS}
    for codec, stream in streams.items():
        for unit in units(codec.value, codec, clip(codec, 60)):
            stream.feed(unit)
        counts = await stream.close()
        assert (counts.received, counts.decoded, counts.dropped) == (60, 60, {})
        seen = recorders[codec].observations
        cells = [item.cell for item in seen]
        assert cells == sorted(set(cells))
        assert len(cells) == 11                 # 2 s at 5 Hz, and the first frame before the grid
        assert cells == [wanted_at_or_before(grid.cell_at(item.pts_s), Pace.BASE) for item in seen]
        assert counts.sampled == len(seen)
        assert all((item.width_px, item.height_px) == (320, 240) for item in seen)
        assert all(item.frame_number == item.sequence for item in seen)
        assert all(item.preview_jpeg and item.preview_jpeg.startswith(b"\xff\xd8") for item in seen)
        assert await stream.close() == counts
        assert recorders[codec].gaps == recorders[codec].failures == []


async def test_streams_are_spread_over_the_workers(pool: WorkerPool) -> None:
    streams = [pool.open(spec(f"s{n}"), Recorder()) for n in range(4)]
    assert sorted(slot.load[0] for slot in pool._slots) == [2, 2]
    await asyncio.gather(*(stream.close() for stream in streams))
    assert sorted(slot.load[0] for slot in pool._slots) == [0, 0]


async def test_garbage_requests_key_frames_and_the_stream_continues(pool: WorkerPool) -> None:
    recorder = Recorder()
    stream = pool.open(spec("s"), recorder)
    good = units("s", Codec.H264, clip(Codec.H264, 60), first=20)
    for number in range(20):
        stream.feed(msgspec.structs.replace(good[0], sequence=number, payload=b"\0\0\0\1\x65" + bytes(99)))
    await until(lambda: recorder.keyframes_asked >= 1)
    for unit in good:
        stream.feed(unit)
    counts = await stream.close()
    assert counts.dropped == {"decode_error": 20}
    assert counts.decoded == 60
    assert recorder.observations
    assert not recorder.failures


async def test_stills_are_judged_one_by_one(pool: WorkerPool) -> None:
    recorder = Recorder()
    stream = pool.open(spec("stills", Codec.JPEG), recorder)
    stream.feed(still(0, (FACES / "obama.jpg").read_bytes()))
    stream.feed(still(1, b"no picture"))
    stream.feed(still(2, picture(64, 48)))
    counts = await stream.close()
    assert counts.dropped == {"decode_error": 1}
    first, last = recorder.observations
    assert first.faces
    assert (last.sequence, last.faces) == (2, ())


async def test_pictures_are_judged_with_a_heat_map(pool: WorkerPool) -> None:
    (frame,), done = await judged(pool, request(FACES / "obama.jpg", heat_maps=True))
    assert (done.file_type, done.container, done.total_frames) == ("image", "jpeg", 1)
    assert max(face.confidence for face in frame.faces) > 0.99
    if pool.status.model is None:
        assert frame.unscored == "no_model"
        assert all(face.prob_fake is None for face in frame.faces)
    else:
        assert frame.unscored == ""
        assert frame.heat_map_png is not None
        assert frame.heat_map_png.startswith(b"\x89PNG")
        assert all(len(face.heat_map or b"") == 49 for face in frame.faces)


async def test_videos_are_judged_frame_by_frame(pool: WorkerPool, tmp_path: Path) -> None:
    frames, done = await judged(pool, request(video(tmp_path / "a.mkv", Clip(frames=30)), max_samples=5))
    assert [(frame.done, frame.planned) for frame in frames] == [(n, 5) for n in range(1, 6)]
    assert [frame.frame_number for frame in frames] == [3, 9, 15, 21, 27]
    assert (done.file_type, done.container, done.codec) == ("video", "matroska", "h264")
    assert (done.total_frames, done.bad_frames, done.fps) == (30, 0, 30.0)


async def test_leaving_the_iterator_cancels_the_job(pool: WorkerPool, tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4", Clip(640, 360, frames=300))
    for _ in range(5):
        frames = pool.run_file(request(path, max_samples=300))
        await anext(frames)
        await frames.aclose()
    assert [slot.load[1] for slot in pool._slots] == [0, 0]
    small = video(tmp_path / "b.mp4", Clip(64, 64, frames=3))
    async with asyncio.timeout(5):
        assert (await judged(pool, request(small)))[1].total_frames == 3


async def test_files_wait_for_a_free_place(pool: WorkerPool, tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4", Clip(64, 64, frames=10))
    done = await asyncio.gather(*(judged(pool, request(path)) for _ in range(12)))
    assert [len(frames) for frames, _ in done] == [8] * 12


async def test_ids_are_unique_and_closed_streams_free_theirs(pool: WorkerPool) -> None:
    stream = pool.open(spec("s"), Recorder())
    with pytest.raises(StreamExists):
        pool.open(spec("s"), Recorder())
    await stream.close()
    await pool.open(spec("s"), Recorder()).close()


async def test_a_stream_may_change_its_size_and_keep_its_tracks(pool: WorkerPool) -> None:
    face = (FACES / "biden.jpg").read_bytes()
    recorder = Recorder()
    stream = pool.open(spec("stills", Codec.JPEG), recorder)
    for number, payload in enumerate([face, _resized(face, 0.6), face]):
        stream.feed(msgspec.structs.replace(still(number, payload), pts_s=number * 0.5))
    await stream.close()
    tracks = [max(item.faces, key=lambda f: f.box[2] * f.box[3]).track for item in recorder.observations]
    assert len(tracks) == 3
    assert len(set(tracks)) == 1


def _resized(jpeg: bytes, factor: float) -> bytes:
    import cv2
    import numpy as np

    bgr = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    return bytes(cv2.imencode(".jpg", cv2.resize(bgr, None, fx=factor, fy=factor))[1])


async def test_a_full_queue_drops_up_to_the_next_key_frame() -> None:
    async with running(PoolConfig(workers=1, unit_queue=20, unit_credits=4)) as small:
        recorder = Recorder()
        stream = small.open(spec("s"), recorder)
        for unit in units("s", Codec.H264, clip(Codec.H264, 120, gop=50)):      # all at once, so no credit returns
            stream.feed(unit)
        counts = await stream.close()
        assert set(recorder.gaps) == {DropCause.QUEUE_FULL}
        assert recorder.keyframes_asked == 1, "asked for more than once per second"
        assert counts.dropped["queue_full"] > 0
        assert counts.decoded + sum(counts.dropped.values()) == counts.received == 120
        assert recorder.observations[-1].sequence >= 100, "decoding did not go on at the key frame"


async def test_a_full_queue_of_stills_drops_the_oldest() -> None:
    async with running(PoolConfig(workers=1, unit_queue=5, unit_credits=1)) as small:
        recorder = Recorder()
        stream = small.open(spec("stills", Codec.JPEG), recorder)
        for number in range(30):
            stream.feed(still(number, picture(32, 32)))
        counts = await stream.close()
        assert counts.dropped == {"queue_full": 24}
        assert [item.sequence for item in recorder.observations] == [0, 25, 26, 27, 28, 29]


async def test_a_unit_that_is_too_large_is_never_sent() -> None:
    async with running(PoolConfig(workers=1, limits=MediaLimits(unit_bytes=2000))) as small:
        recorder = Recorder()
        stream = small.open(spec("stills", Codec.JPEG), recorder)
        stream.feed(still(0, picture(400, 300)))
        stream.feed(still(1, picture(32, 32)))
        counts = await stream.close()
        assert counts.dropped == {"too_large": 1}
        assert [item.sequence for item in recorder.observations] == [1]


async def test_a_file_hardly_delays_live_streams(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4", Clip(1280, 720, frames=100, gop=100))
    media = units("s", Codec.H264, clip(Codec.H264, 90))
    async with running(PoolConfig(workers=1)) as lone:
        recorder = Recorder()
        stream = lone.open(spec("s", rate_hz=5.0), recorder)
        feed = asyncio.create_task(publish(stream, media))
        began_s = time.monotonic()
        frames, _ = await judged(lone, request(path, max_samples=30))
        await feed
        counts = await stream.close()
        assert len([frame for frame in frames if isinstance(frame, FileFrame)]) == 30
        assert counts.dropped == {}
        waits = [at_s - began_s - item.pts_s for at_s, item in zip(recorder.at_s, recorder.observations, strict=True)]
        assert sorted(waits)[len(waits) // 2] < 0.5
