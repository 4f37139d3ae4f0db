"""Workers that are killed, hang, or lose their parent. Every pool here has its own processes."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import time
from contextlib import AsyncExitStack, suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import psutil
import pytest

from stream.errors import MediaRefused, WorkerLost
from stream.retry_policy import RetryPolicy
from stream.types import Codec, DropCause
from stream.worker_messages import FileFrame
from stream.worker_pool import PoolConfig, WorkerPool
from stream.worker_process import RestartDelays
from tests.machine import crowd, queued_s
from tests.stream.pools import CODECS, clip, judged, request, running, spec
from tests.stream.sinks import Recorder, publishing, until
from tests.synthetic import Clip, units, video

if TYPE_CHECKING:
    from stream.worker_pool import WorkerStream

FACES = Path(__file__).resolve().parents[1] / "media"
DEAD_AT_ONCE = PoolConfig(workers=2, address_space_bytes=64 * 2**20)


def test_backoff_doubles_while_workers_die_at_once() -> None:
    delays = RestartDelays(RetryPolicy.exponential(1.0, 30.0, jitter=0.0))
    assert [delays.after(None) for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    assert delays.after(60.0) == 0
    assert [delays.after(1.0) for _ in range(4)] == [0, 1, 2, 4]


async def test_a_killed_worker_is_replaced_and_only_its_streams_show_a_gap() -> None:
    async with running() as pool:
        recorders = [Recorder(), Recorder()]
        streams = [pool.open(spec(f"s{n}", codec), recorders[n]) for n, codec in enumerate(CODECS)]
        media = [units(f"s{n}", codec, clip(codec, 60)) for n, codec in enumerate(CODECS)]
        async with publishing(streams[0], media[0]), publishing(streams[1], media[1]):
            await until(lambda: all(len(recorder.observations) >= 5 for recorder in recorders))
            before = set(pool.status.pids)
            killed_s, queued_before_s = time.monotonic(), queued_s()
            heir = pool.status.pids[1]
            heir_queued_before_s = queued_s(heir)
            os.kill(pool.status.pids[0], signal.SIGKILL)
            await until(lambda: pool.status.restarts == 1)
            await until(lambda: pool.status.ready == 2)
            (fresh,) = set(pool.status.pids) - before
            queue_s = queued_s() - queued_before_s + queued_s(fresh)
            heir_queue_s = queued_s() - queued_before_s + queued_s(heir) - heir_queued_before_s
            replaced_s = time.monotonic() - killed_s
        counts = [await stream.close() for stream in streams]
    assert replaced_s - queue_s <= 3.0, f"replaced in {replaced_s:.1f} s, {queue_s:.1f} s of it for want of a core"
    (lost,) = [n for n in (0, 1) if recorders[n].gaps]
    kept = 1 - lost
    assert recorders[lost].gaps == [DropCause.WORKER_LOST]
    assert recorders[lost].keyframes_asked >= 1
    assert longest_pause_s(recorders[lost]) - heir_queue_s <= 3.0
    assert recorders[kept].keyframes_asked == 0
    assert counts[kept].dropped == {}
    assert counts[kept].decoded == counts[kept].received
    cells = [seen.cell for seen in recorders[lost].observations]
    assert cells == sorted(set(cells)), "a cell was observed twice"


async def test_streams_are_rebalanced_after_a_replacement_without_another_gap() -> None:
    async with running() as pool, AsyncExitStack() as feeds:
        recorders = [Recorder() for _ in range(4)]
        streams = [pool.open(spec(f"s{n}", CODECS[n % 2]), recorder) for n, recorder in enumerate(recorders)]
        for n, stream in enumerate(streams):
            media = units(f"s{n}", CODECS[n % 2], clip(CODECS[n % 2], 60))
            await feeds.enter_async_context(publishing(stream, media))
        await until(lambda: all(len(recorder.observations) >= 3 for recorder in recorders))
        os.kill(pool.status.pids[0], signal.SIGKILL)
        await until(lambda: pool.status.restarts == 1 and _loads(pool) == [0, 4])
        await until(lambda: pool.status.ready == 2 and _loads(pool) == [2, 2])
        seen = [len(recorder.observations) for recorder in recorders]
        await until(lambda: all(len(r.observations) > n + 10 for r, n in zip(recorders, seen, strict=True)))
        await feeds.aclose()
        counts = [await stream.close() for stream in streams]
        assert sorted(len(recorder.gaps) for recorder in recorders) == [0, 0, 1, 1]
        for recorder, total in zip(recorders, counts, strict=True):
            lost = sum(total.dropped.values())
            assert lost == 0 or recorder.gaps
            assert total.decoded + lost == total.received
            frames = [item.frame_number for item in recorder.observations]
            assert frames == sorted(set(frames))


def _loads(pool: WorkerPool) -> list[int]:
    return sorted(slot.load[0] for slot in pool._slots)


def longest_pause_s(recorder: Recorder) -> float:
    return max(after - before for before, after in pairwise(recorder.at_s))


async def test_streams_continue_after_the_only_worker_dies() -> None:
    async with running(PoolConfig(workers=1)) as pool:
        recorder = Recorder()
        stream = pool.open(spec("s"), recorder)
        async with publishing(stream, units("s", Codec.H264, clip(Codec.H264, 60))):
            await until(lambda: len(recorder.observations) >= 3)
            seen = len(recorder.observations)
            os.kill(pool.status.pids[0], signal.SIGKILL)
            await until(lambda: len(recorder.observations) > seen + 3)
        counts = await stream.close()
        assert recorder.gaps == [DropCause.WORKER_LOST]
        frames = [item.frame_number for item in recorder.observations]
        assert frames == sorted(set(frames)), "a frame number was given twice"
        assert counts.decoded > seen


async def test_a_stopped_worker_is_noticed_and_replaced() -> None:
    async with running() as pool:
        await until(lambda: pool.status.ready == 2)     # a stream moves once the second worker is warm
        recorder = Recorder()
        stream = pool.open(spec("s"), recorder)
        async with publishing(stream, units("s", Codec.H264, clip(Codec.H264, 60))):
            await until(lambda: len(recorder.observations) >= 3)
            stopped = await _worker_of(pool)
            os.kill(stopped, signal.SIGSTOP)
            queued_before_s = queued_s()
            noticed_s = await until(lambda: pool.status.restarts == 1)
            assert noticed_s - (queued_s() - queued_before_s) <= 2.0
            seen = len(recorder.observations)
            await until(lambda: pool.status.ready == 2 and len(recorder.observations) > seen + 3)
        assert stopped not in pool.status.pids
        assert not psutil.pid_exists(stopped)
        assert recorder.gaps == [DropCause.WORKER_LOST]
        await stream.close()


async def test_idle_or_starved_workers_are_not_killed() -> None:
    async with running() as pool:
        core = min(os.sched_getaffinity(0))
        crowded = psutil.Process(pool.status.pids[0])
        for thread in crowded.threads():
            os.sched_setaffinity(thread.id, {core})
        with crowd(core):
            await asyncio.sleep(4 * PoolConfig().heartbeat_s)
        assert pool.status.restarts == 0
        assert crowded.pid in pool.status.pids


async def _worker_of(pool: WorkerPool) -> int:
    """Returns the worker with the only stream: the one with more CPU usage after both have started."""
    await asyncio.sleep(1.5)
    used = {pid: sum(psutil.Process(pid).cpu_times()[:2]) for pid in pool.status.pids}
    await asyncio.sleep(1.0)
    return max(used, key=lambda pid: sum(psutil.Process(pid).cpu_times()[:2]) - used[pid])


async def test_a_file_survives_the_death_of_its_worker(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4", Clip(640, 360, frames=300, gop=300))
    async with running() as pool:
        frames: list[FileFrame] = []
        async for message in pool.run_file(request(path, max_samples=60)):
            if isinstance(message, FileFrame):
                frames.append(message)
                if len(frames) == 3:
                    _kill_busiest(pool)
        assert [frame.done for frame in frames] == list(range(1, 61)), "frames are missing or repeated"
        assert [frame.frame_number for frame in frames] == sorted({frame.frame_number for frame in frames})
        await until(lambda: pool.status.restarts == 1)


async def test_a_file_that_kills_two_workers_is_refused(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4", Clip(640, 360, frames=300, gop=300))
    async with running() as pool:
        with pytest.raises(MediaRefused) as refused:
            await _kill_all_while_judging(pool, path)
        assert (refused.value.code, refused.value.status) == ("decoder_crashed", 422)
        await until(lambda: pool.status.ready == 2, 30)


async def _kill_all_while_judging(pool: WorkerPool, path: Path) -> None:
    async for message in pool.run_file(request(path, max_samples=200)):
        assert isinstance(message, FileFrame)
        for pid in pool.status.pids:
            os.kill(pid, signal.SIGKILL)


def _kill_busiest(pool: WorkerPool) -> None:
    used = {pid: sum(psutil.Process(pid).cpu_times()[:2]) for pid in pool.status.pids}
    time.sleep(0.2)
    os.kill(max(used, key=lambda pid: sum(psutil.Process(pid).cpu_times()[:2]) - used[pid]), signal.SIGKILL)


async def test_workers_drop_privileges() -> None:
    async with running(PoolConfig(workers=1)) as pool:
        process = psutil.Process(pool.status.pids[0])
        assert "NoNewPrivs:\t1" in _kernel_status(process.pid)
        assert process.rlimit(psutil.RLIMIT_CORE) == (0, 0)
        assert process.rlimit(psutil.RLIMIT_NOFILE) == (64, 64)
        assert process.rlimit(psutil.RLIMIT_AS)[0] == PoolConfig().address_space_bytes
        assert set(process.environ()) <= {
            "PATH", "LANG", "PYTHONPATH", "OPENCV_IO_MAX_IMAGE_PIXELS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS",
            "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM",
        }
        os.kill(process.pid, signal.SIGINT)
        await asyncio.sleep(0.3)
        assert pool.status.restarts == 0, "Ctrl-C in a terminal must not reach the workers"


def _kernel_status(pid: int) -> str:
    return Path(f"/proc/{pid}/status").read_text()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_workers_do_not_outlive_their_parent(number: signal.Signals) -> None:
    program = (
        "import asyncio, sys\n"
        "from stream.worker_pool import PoolConfig, WorkerPool\n"
        "async def main():\n"
        "    pool = WorkerPool(PoolConfig(workers=1))\n"
        "    await pool.start()\n"
        "    print(*pool.status.pids, flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = psutil.Process(int(parent.stdout.readline()))
        parent.send_signal(number)
        parent.wait(10)
        worker.wait(5)



async def test_closing_the_pool_ends_everything(tmp_path: Path) -> None:
    pool = WorkerPool(PoolConfig(workers=2))
    await pool.start()
    await until(lambda: pool.status.ready == 2, 30)
    pids = pool.status.pids
    recorder = Recorder()
    stream = pool.open(spec("s"), recorder)
    job = asyncio.create_task(judged(pool, request(video(tmp_path / "a.mp4", Clip(640, 360, frames=300)), 300)))
    await asyncio.sleep(0.1)
    await pool.close()
    await pool.close()
    with pytest.raises(WorkerLost):
        await job
    assert [cause for cause, _ in recorder.failures] == [DropCause.WORKER_LOST]
    assert not any(psutil.pid_exists(pid) for pid in pids)
    stream.feed(units("s", Codec.H264, clip(Codec.H264, 2))[0])
    await stream.close()
    with pytest.raises(WorkerLost):
        pool.open(spec("t"), Recorder())


async def test_only_the_stream_that_crashes_workers_repeatedly_fails() -> None:
    async with running(PoolConfig(workers=1, longest_backoff_s=0.1)) as pool:
        busy, quiet = Recorder(), Recorder()
        culprit, innocent = pool.open(spec("culprit"), busy), pool.open(spec("innocent"), quiet)
        feed = asyncio.create_task(_overfeed(culprit))
        for _ in range(8):
            seen = len(busy.observations)
            await until(lambda seen=seen: bool(busy.failures) or len(busy.observations) > seen + 5, 30)
            if busy.failures:
                break
            restarts = pool.status.restarts
            os.kill(pool.status.pids[0], signal.SIGSEGV)
            await until(lambda restarts=restarts: pool.status.restarts > restarts)
        feed.cancel()
        assert [cause for cause, _ in busy.failures] == [DropCause.DECODE_ERROR]
        assert (busy.crashes, quiet.crashes) == (3, 0)
        await until(lambda: pool.status.ready == 1, 30)
        assert not quiet.failures
        for unit in units("innocent", Codec.H264, clip(Codec.H264, 30)):
            innocent.feed(unit)
        assert (await innocent.close()).decoded == 30
        await asyncio.gather(feed, return_exceptions=True)


async def _overfeed(stream: WorkerStream) -> None:
    """Keeps the worker decoding all the time."""
    media = units("culprit", Codec.H264, Clip(1280, 720, frames=60))
    for number in range(10**9):
        unit = media[number % len(media)]
        stream.feed(msgspec.structs.replace(unit, sequence=number, pts_s=number / 30))
        await asyncio.sleep(0.001)


async def test_start_raises_if_no_worker_can_start() -> None:
    with pytest.raises(WorkerLost):
        await WorkerPool(DEAD_AT_ONCE).start()


async def test_workers_that_die_during_start_leak_no_resources() -> None:
    """On a busy machine a worker can start, die and be reaped before asyncio hands it over."""
    blocker = asyncio.create_task(_block_until_children_are_dead())
    before = psutil.Process().num_fds()
    with pytest.raises(WorkerLost):
        await WorkerPool(DEAD_AT_ONCE).start()
    await blocker
    gc.collect()        # an unclosed writer warns here
    assert psutil.Process().num_fds() <= before


async def _block_until_children_are_dead() -> None:
    """Blocks the loop while a worker lives."""
    before = set(psutil.Process().children())
    while not (workers := set(psutil.Process().children()) - before):
        await asyncio.sleep(0)
    end_s = time.monotonic() + 20
    while any(_is_alive(worker) for worker in workers) and time.monotonic() < end_s:
        time.sleep(0.01)    # noqa: ASYNC251
    time.sleep(0.1)         # noqa: ASYNC251  lets the thread that reaps them run


def _is_alive(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


async def test_without_weights_faces_are_found_and_nothing_is_scored(tmp_path: Path) -> None:
    async with running(PoolConfig(workers=1, weights_dir=tmp_path)) as pool:
        assert pool.status.model is None
        assert pool.status.problem
        (frame,), _ = await judged(pool, request(FACES / "biden.jpg", heat_maps=True))
        assert frame.faces
        assert frame.unscored == "no_model"
        assert all(face.prob_fake is None and face.llr is None and face.heat_map is None for face in frame.faces)
        assert frame.faces[0].quality.weight > 0
        assert frame.heat_map_png is None
