from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from api.uploads.file_jobs import FileJobs, FileResult
from api.uploads.spool import Spool, Upload
from api.uploads.verdict_cache import VerdictCache
from stream.errors import MediaRefused, ServiceDraining
from stream.events import Label, Reason
from stream.file_verdict import FileVerdict, JudgeOptions
from stream.stream_service import ServiceStatus
from tests.api.verdicts import MODEL, verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from stream.types import ModelRef

OPTIONS = JudgeOptions()


@dataclass
class SlowService:
    """Returns its verdict when `go` is set."""

    model: ModelRef | None = MODEL
    answer: FileVerdict | Exception = field(default_factory=verdict)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    started: int = 0
    cancelled: int = 0
    at_once: int = 0
    most_at_once: int = 0
    seen: list[bytes] = field(default_factory=list)

    @property
    def status(self) -> ServiceStatus:
        return ServiceStatus(True, self.model, "", 0, 1, 1)

    async def judge(self, path: Path, options: JudgeOptions, progress: Callable[[int, int], None]) -> FileVerdict:
        self.started += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.go.wait()
            self.seen.append(await asyncio.to_thread(path.read_bytes))
            progress(1, 2)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.at_once -= 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    spool = Spool(tmp_path, slots=64, max_file_bytes=1000)
    spool.open()
    yield spool
    assert spool.free_slots == 64      # every upload was discarded
    spool.close()


@dataclass
class Bench:
    """File jobs on a service that waits."""

    service: SlowService
    file_jobs: FileJobs
    spool: Spool

    def upload(self, content: bytes) -> Upload:
        path = self.spool._reserve_slot()
        path.write_bytes(content)
        return Upload(path, len(content), content.hex(), "image", self.spool)

    def start(self, content: bytes, options: JudgeOptions = OPTIONS) -> asyncio.Task[FileResult]:
        return asyncio.create_task(self.file_jobs.analyze(self.upload(content), options))


@pytest.fixture
def bench(spool: Spool) -> Bench:
    service = SlowService()
    return Bench(service, FileJobs(service, VerdictCache(), at_once=2), spool)      # type: ignore[arg-type]


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_identical_uploads_share_one_job(bench: Bench) -> None:
    waiting = [bench.start(b"a") for _ in range(5)]
    await settle()
    assert bench.spool.free_slots == 63    # followers hold no file
    bench.service.go.set()
    answers = await asyncio.gather(*waiting)
    assert [judged.cached for judged in answers] == [False, True, True, True, True]
    assert bench.service.started == 1
    assert (await bench.start(b"a")).cached
    assert bench.service.started == 1


async def test_different_options_start_separate_jobs(bench: Bench) -> None:
    bench.service.go.set()
    for options in (OPTIONS, JudgeOptions(heat_map=True), JudgeOptions(max_samples=5)):
        assert not (await bench.start(b"a", options)).cached
    assert bench.service.started == 3


async def test_the_number_of_concurrent_jobs_is_limited(bench: Bench) -> None:
    waiting = [bench.start(b"%d" % number) for number in range(6)]
    await settle()
    assert bench.service.started == 2
    bench.service.go.set()
    await asyncio.gather(*waiting)
    assert bench.service.most_at_once == 2
    assert sorted(bench.service.seen) == [b"%d" % number for number in range(6)]


async def test_a_job_continues_while_a_waiter_remains(bench: Bench) -> None:
    first, second = bench.start(b"a"), bench.start(b"a")
    await settle()
    first.cancel()
    await asyncio.wait([first])
    bench.service.go.set()
    assert (await second).verdict.label is Label.FAKE
    assert bench.service.cancelled == 0


async def test_a_job_without_waiters_is_cancelled(bench: Bench) -> None:
    waiting = [bench.start(b"a"), bench.start(b"a")]
    await settle()
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    await settle()
    assert bench.service.cancelled == 1
    bench.service.go.set()
    assert not (await bench.start(b"a")).cached


async def test_an_error_reaches_all_waiters_and_is_not_cached(bench: Bench) -> None:
    bench.service.answer = MediaRefused("truncated", "it ends early")
    waiting = [bench.start(b"a"), bench.start(b"a")]
    await settle()
    bench.service.go.set()
    assert [type(result) for result in await asyncio.gather(*waiting, return_exceptions=True)] == [MediaRefused] * 2
    bench.service.answer = verdict()
    assert not (await bench.start(b"a")).cached


@pytest.mark.parametrize("reason", [Reason.NO_MODEL, Reason.SCORER_FAILED])
async def test_temporary_results_are_not_cached(bench: Bench, reason: Reason) -> None:
    bench.service.go.set()
    bench.service.answer = verdict(Label.UNCERTAIN, reason, None)
    assert [(await bench.start(b"a")).cached for _ in range(2)] == [False, False]


async def test_a_new_model_misses_the_cache(bench: Bench) -> None:
    bench.service.go.set()
    await bench.start(b"a")
    bench.service.model = None
    assert not (await bench.start(b"a")).cached


async def test_late_joiners_get_the_latest_progress(bench: Bench) -> None:
    first, late = [], []     # type: ignore[var-annotated]
    one = asyncio.create_task(bench.file_jobs.analyze(bench.upload(b"a"), OPTIONS, lambda *at: first.append(at)))
    await settle()
    two = asyncio.create_task(bench.file_jobs.analyze(bench.upload(b"a"), OPTIONS, lambda *at: late.append(at)))
    await settle()
    bench.service.go.set()
    await asyncio.gather(one, two)
    assert first == late == [(0, 0), (1, 2)]


async def test_drain_refuses_new_work_and_cancels_after_its_timeout(bench: Bench) -> None:
    quick, stuck = bench.start(b"a"), bench.start(b"b")
    await settle()
    draining = asyncio.create_task(bench.file_jobs.drain(0.2))
    await settle()
    with pytest.raises(ServiceDraining):
        await bench.start(b"c")
    await draining
    for task in (quick, stuck):
        with pytest.raises(ServiceDraining):
            await task
    await bench.file_jobs.drain(1)


async def test_drain_lets_jobs_finish(bench: Bench) -> None:
    working = bench.start(b"a")
    await settle()
    draining = asyncio.create_task(bench.file_jobs.drain(10))
    await settle()
    bench.service.go.set()
    assert (await working).verdict.label is Label.FAKE
    await draining
