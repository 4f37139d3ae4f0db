"""Hostile files through real workers: each ends in a typed refusal or a verdict, and no worker dies."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
import pytest_asyncio

from stream.errors import MediaRefused
from stream.media_limits import MediaLimits
from stream.types import Codec, MediaUnit
from stream.worker_messages import OpenStream
from stream.worker_pool import PoolConfig, WorkerPool
from tests.stream.hostile import JUDGED, corpus, mutations
from tests.stream.pools import judged, request, running
from tests.stream.sinks import Recorder
from tests.synthetic import Clip, encode, picture, video

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

STATUSES = {
    "empty_file": 400, "unsupported_media": 415, "too_large": 413, "no_video": 422, "no_frames": 422, "truncated": 422,
    "undecodable": 422, "too_slow": 422,
}
SLOWEST_S = 10.0
FUZZ_S = 3.0
MAX_WORKER_BYTES = 1 << 30


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool() -> AsyncIterator[WorkerPool]:
    async with running(PoolConfig(workers=2)) as shared:
        yield shared


async def ending(pool: WorkerPool, path: Path) -> str:
    """Returns the code that judging this file ends in, or JUDGED; checks the HTTP status of refusals."""
    try:
        frames, done = await judged(pool, request(path, max_samples=4, heat_maps=True))
    except MediaRefused as refused:
        return refused.code if refused.message and refused.status == STATUSES[refused.code] else f"odd {refused!r}"
    assert done.total_frames >= 1
    assert frames
    return JUDGED


async def test_every_hostile_file_is_refused_or_judged(pool: WorkerPool, tmp_path: Path) -> None:
    pids, wrong, slowest_s = pool.status.pids, {}, 0.0
    for number, (name, (content, allowed)) in enumerate(corpus(tmp_path)):
        path = tmp_path / f"{number}.mp4"
        await asyncio.to_thread(path.write_bytes, content)
        began_s = time.monotonic()
        code = await ending(pool, path)
        slowest_s = max(slowest_s, time.monotonic() - began_s)
        if code not in allowed:
            wrong[name] = (code, sorted(allowed))
    assert number >= 60
    assert not wrong
    assert slowest_s < SLOWEST_S
    assert pool.status.pids == pids, "a worker died"
    assert all(psutil.Process(pid).memory_info().rss < MAX_WORKER_BYTES for pid in pids)


@pytest.mark.parametrize(
    ("name", "encoder"),
    [("a.mp4", "libx264"), ("a.webm", "libvpx"), ("a.avi", "mpeg4"), ("a.ts", "libx264"), ("a.jpg", ""), ("a.png", "")],
)
async def test_mutated_files_are_refused_or_judged(pool: WorkerPool, tmp_path: Path, name: str, encoder: str) -> None:
    pids = pool.status.pids
    whole = video(tmp_path / name, Clip(160, 120, frames=12, encoder=encoder)) if encoder else None
    data = whole.read_bytes() if whole else picture(160, 120, Path(name).suffix)
    path, until_s, tried = tmp_path / "mutant", time.monotonic() + FUZZ_S, 0
    for mutant in mutations(data, seed=len(name)):
        await asyncio.to_thread(path.write_bytes, mutant)
        await ending(pool, path)
        tried += 1
        if time.monotonic() > until_s:
            break
    assert tried >= 10
    assert pool.status.pids == pids, "a worker died"


@pytest.mark.parametrize("codec", [Codec.H264, Codec.VP8, Codec.JPEG, Codec.PNG])
async def test_mutated_units_never_end_a_stream(pool: WorkerPool, codec: Codec) -> None:
    """For any live media the stream stays open, and every unit is counted."""
    pids = pool.status.pids
    recorder = Recorder()
    stream = pool.open(OpenStream(stream="fuzz", epoch=1, codec=codec, rate_hz=30, phase=0), recorder)
    bases = _units_of(codec)
    variants = [mutations(payload, seed=number) for number, (payload, _) in enumerate(bases)]
    until_s, number = time.monotonic() + FUZZ_S, 0
    while time.monotonic() < until_s:
        which = number % len(bases)
        payload = next(variants[which]) if number % 3 else bases[which][0]
        stream.feed(
            MediaUnit(
                stream="fuzz", epoch=1, sequence=number, codec=codec, payload=payload, pts_s=number / 30, capture_s=0.0,
                keyframe=bases[which][1],
            )
        )
        number += 1
        await asyncio.sleep(0.002)
    counts = await stream.close()
    assert not recorder.failures
    assert counts.received == number
    assert counts.decoded > 0
    assert recorder.observations
    assert pool.status.pids == pids, "a worker died"


def _units_of(codec: Codec) -> list[tuple[bytes, bool]]:
    if codec in (Codec.JPEG, Codec.PNG):
        return [(picture(160, 120, f".{codec.value}"), True)]
    encoder = {Codec.H264: "libx264", Codec.VP8: "libvpx"}[codec]
    return encode(Clip(160, 120, frames=30, gop=5, encoder=encoder))


async def test_a_file_that_takes_too_long_is_refused(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4", Clip(640, 360, frames=400, gop=400))
    small = video(tmp_path / "b.mp4", Clip(64, 64, frames=2))
    async with running(PoolConfig(workers=1, limits=MediaLimits(job_s=0.7))) as strict:
        with pytest.raises(MediaRefused) as refused:
            await judged(strict, request(path, max_samples=400))
        assert (refused.value.code, refused.value.status) == ("too_slow", 422)
        assert (await judged(strict, request(small, 1)))[1].total_frames == 2
