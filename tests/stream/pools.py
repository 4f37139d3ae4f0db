"""Worker pools with real processes, and streams and files for them."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from stream.types import Codec
from stream.worker_messages import FileFrame, JobDone, OpenStream
from stream.worker_pool import FileRequest, PoolConfig, WorkerPool
from tests.stream.sinks import until
from tests.synthetic import ENCODERS, Clip

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

CODECS = (Codec.H264, Codec.VP8)


@asynccontextmanager
async def running(config: PoolConfig | None = None, all_warm: bool = True) -> AsyncIterator[WorkerPool]:
    pool = WorkerPool(config or PoolConfig(workers=2))
    await pool.start()
    try:
        if all_warm:
            await until(lambda: pool.status.ready == pool.status.wanted, 30)
        yield pool
    finally:
        await pool.close()


def spec(stream: str, codec: Codec = Codec.H264, rate_hz: float = 10.0) -> OpenStream:
    return OpenStream(stream=stream, epoch=1, codec=codec, rate_hz=rate_hz, phase=0.25)


def clip(codec: Codec, frames: int, gop: int = 15) -> Clip:
    return Clip(320, 240, frames=frames, gop=gop, encoder=ENCODERS[codec])


async def judged(pool: WorkerPool, request: FileRequest) -> tuple[list[FileFrame], JobDone]:
    messages = [message async for message in pool.run_file(request)]
    assert isinstance(messages[-1], JobDone)
    return [message for message in messages[:-1] if isinstance(message, FileFrame)], messages[-1]


def request(path: Path, max_samples: int = 8, heat_maps: bool = False) -> FileRequest:
    return FileRequest(path=path, max_samples=max_samples, rate_hz=60.0, heat_maps=heat_maps)
