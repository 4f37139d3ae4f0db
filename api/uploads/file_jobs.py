"""Files on their way to a verdict: from the cache, together with the same file of somebody else, or from a worker."""

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
"""Called with (done, planned) samples; first with (0, 0) when a worker takes the file."""

_UNSETTLED = frozenset({Reason.NO_MODEL, Reason.SCORER_FAILED})


class FileResult(NamedTuple):
    """`cached` says that no worker looked at the file on behalf of this request."""

    verdict: FileVerdict
    cached: bool


class _InFlightJob:
    """One file in work and everybody who waits for it; nobody left, no work."""

    def __init__(self, task: asyncio.Task[FileVerdict]) -> None:
        self.task = task
        self.waiting = 0
        self.listeners: list[Progress] = []
        self._latest: tuple[int, int] | None = None

    def tell(self, done: int, planned: int) -> None:
        self._latest = done, planned
        for listener in self.listeners:
            listener(done, planned)

    def listen(self, listener: Progress) -> None:
        self.listeners.append(listener)
        if self._latest is not None:
            listener(*self._latest)


class FileJobs:
    """At most `at_once` files are with the workers; the others wait, and how many can wait the spool decides."""

    def __init__(self, service: StreamService, cache: VerdictCache, at_once: int) -> None:
        self._service = service
        self._cache = cache
        self._room = asyncio.Semaphore(at_once)
        self._flights: dict[VerdictKey, _InFlightJob] = {}
        self._tasks: set[asyncio.Task[FileVerdict]] = set()
        self.draining = False

    async def analyze(self, upload: Upload, options: JudgeOptions, progress: Progress | None = None) -> FileResult:
        """Takes the upload over and discards it. Raises what StreamService.judge raises."""
        if self.draining:
            upload.discard()
            raise ServiceDraining("the service is shutting down")
        key = self._key(upload, options)
        known = self._cache.get(key)
        flight = self._flights.get(key)
        if known is not None or flight is not None:
            upload.discard()
        if known is not None:
            return FileResult(known, cached=True)
        joined = flight is not None
        return FileResult(await self._wait(key, flight or self._start(key, upload, options), progress), cached=joined)

    async def drain(self, timeout_s: float) -> None:
        """Takes nothing new, gives what is in work some time, then cancels it. Idempotent."""
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
        def tell(done: int, planned: int) -> None:
            flight.tell(done, planned)

        task = asyncio.get_running_loop().create_task(self._work(upload, options, tell), name="judge")
        flight = self._flights[key] = _InFlightJob(task)
        self._tasks.add(task)

        def settle(done: asyncio.Task[FileVerdict]) -> None:
            upload.discard()
            self._tasks.discard(done)
            self._forget(key, flight)
            if not done.cancelled() and done.exception() is None:
                self._remember(key, done.result())

        task.add_done_callback(settle)
        return flight

    async def _work(self, upload: Upload, options: JudgeOptions, tell: Progress) -> FileVerdict:
        async with self._room:
            tell(0, 0)
            return await self._service.judge(upload.path, options, tell)

    async def _wait(self, key: VerdictKey, flight: _InFlightJob, progress: Progress | None) -> FileVerdict:
        if progress is not None:
            flight.listen(progress)
        flight.waiting += 1
        try:
            await asyncio.wait([flight.task])
        finally:
            flight.waiting -= 1
            if progress is not None:
                flight.listeners.remove(progress)
            if flight.waiting == 0 and not flight.task.done():
                self._forget(key, flight)
                flight.task.cancel()
        if flight.task.cancelled():
            raise ServiceDraining("the service is shutting down")
        return flight.task.result()

    def _forget(self, key: VerdictKey, flight: _InFlightJob) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]

    def _remember(self, key: VerdictKey, verdict: FileVerdict) -> None:
        same_model = verdict.model is not None and verdict.model.sha256 == key.model_sha256
        if same_model and verdict.reason not in _UNSETTLED:
            self._cache.put(key, verdict)
