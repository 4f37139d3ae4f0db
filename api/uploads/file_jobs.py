"""File analysis: answers from the cache, joins an identical job in job, or starts a job on a worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from api.uploads.verdict_cache import VerdictCache, VerdictKey
from stream.errors import ServiceDraining
from stream.events import Reason
from stream.file_verdict import FileVerdict, JudgeOptions

if TYPE_CHECKING:
    from api.uploads.spool import Upload
    from stream.stream_service import StreamService

Progress = Callable[[int, int], None]
"""Called with (done, planned) samples; first with (0, 0) when a worker starts the file."""

_NOT_CACHEABLE = frozenset({Reason.NO_MODEL, Reason.SCORER_FAILED})


class FileResult(NamedTuple):
    """A verdict. `cached` is true if this request started no work: a cache hit, or joined to a job in job."""

    verdict: FileVerdict
    cached: bool


class _InFlightJob:
    """An in-flight job shared by identical requests; cancelled when the last waiter leaves."""

    def __init__(self, task: asyncio.Task[FileVerdict]) -> None:
        self.task = task
        self.waiters = 0
        self.listeners: list[Progress] = []
        self._latest: tuple[int, int] | None = None

    def report(self, done: int, planned: int) -> None:
        self._latest = done, planned
        for listener in self.listeners:
            listener(done, planned)

    def add_listener(self, listener: Progress) -> None:
        self.listeners.append(listener)
        if self._latest is not None:
            listener(*self._latest)


class FileJobs:
    """Analyzes uploads, at most `at_once` at a time. The spool bounds how many wait."""

    def __init__(self, service: StreamService, cache: VerdictCache, at_once: int) -> None:
        self._service = service
        self._cache = cache
        self._workers_free = asyncio.Semaphore(at_once)
        self._in_flight: dict[VerdictKey, _InFlightJob] = {}
        self._tasks: set[asyncio.Task[FileVerdict]] = set()
        self.draining = False

    async def analyze(self, upload: Upload, options: JudgeOptions, progress: Progress | None = None) -> FileResult:
        """Returns the verdict on an upload and discards the upload. Raises what StreamService.judge raises."""
        if self.draining:
            upload.discard()
            raise ServiceDraining("the service is shutting down")
        key = self._key(upload, options)
        cached = self._cache.get(key)
        job = self._in_flight.get(key)
        if cached is not None or job is not None:
            upload.discard()
        if cached is not None:
            return FileResult(cached, cached=True)
        joined = job is not None
        return FileResult(await self._wait(key, job or self._start(key, upload, options), progress), cached=joined)

    async def drain(self, timeout_s: float) -> None:
        """Refuses new work, waits `timeout_s` for running jobs, then cancels them. Idempotent."""
        self.draining = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_s)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _key(self, upload: Upload, options: JudgeOptions) -> VerdictKey:
        model = self._service.status.model
        return VerdictKey(upload.sha256, model.sha256 if model else "", options.heat_map, options.max_samples)

    def _start(self, key: VerdictKey, upload: Upload, options: JudgeOptions) -> _InFlightJob:
        def report(done: int, planned: int) -> None:
            job.report(done, planned)

        task = asyncio.get_running_loop().create_task(self._work(upload, options, report), name="file job")
        job = self._in_flight[key] = _InFlightJob(task)
        self._tasks.add(task)

        def finish(done: asyncio.Task[FileVerdict]) -> None:
            upload.discard()
            self._tasks.discard(done)
            self._forget(key, job)
            if not done.cancelled() and done.exception() is None:
                self._cache_verdict(key, done.result())

        task.add_done_callback(finish)
        return job

    async def _work(self, upload: Upload, options: JudgeOptions, report: Progress) -> FileVerdict:
        async with self._workers_free:
            report(0, 0)
            return await self._service.judge(upload.path, options, report)

    async def _wait(self, key: VerdictKey, job: _InFlightJob, progress: Progress | None) -> FileVerdict:
        if progress is not None:
            job.add_listener(progress)
        job.waiters += 1
        try:
            await asyncio.wait([job.task])
        finally:
            job.waiters -= 1
            if progress is not None:
                job.listeners.remove(progress)
            if job.waiters == 0 and not job.task.done():
                self._forget(key, job)
                job.task.cancel()
        if job.task.cancelled():
            raise ServiceDraining("the service is shutting down")
        return job.task.result()

    def _forget(self, key: VerdictKey, job: _InFlightJob) -> None:
        if self._in_flight.get(key) is job:
            del self._in_flight[key]

    def _cache_verdict(self, key: VerdictKey, verdict: FileVerdict) -> None:
        same_model = verdict.model is not None and verdict.model.sha256 == key.model_sha256
        if same_model and verdict.reason not in _NOT_CACHEABLE:
            self._cache.put(key, verdict)
