"""Background jobs of uploads (`POST /predict?async=true`): a bounded table; finished jobs expire after 10 minutes."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum

from api.errors import Busy, NotFound
from api.http.error_responses import Problem, problem_of
from api.uploads.file_jobs import Progress

MAX_JOBS = 256
KEPT_S = 600.0

Work = Callable[[Progress], Awaitable[object]]


class JobState(StrEnum):
    """queued -> running -> done or failed."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass
class Job:
    """One upload in the background. Visible to callers of the same tenant only."""

    tenant: str
    job_id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    state: JobState = JobState.QUEUED
    done: int = 0
    planned: int = 0
    result: object | None = None
    problem: Problem | None = None
    finished_s: float | None = None
    task: asyncio.Task[None] | None = None

    def report_progress(self, done: int, planned: int) -> None:
        self.state = JobState.RUNNING
        self.done, self.planned = done, planned


class JobTable:
    """All background jobs of this process. Belongs to one event loop."""

    def __init__(self, max_jobs: int = MAX_JOBS, kept_s: float = KEPT_S) -> None:
        self._max_jobs = max_jobs
        self._kept_s = kept_s
        self._jobs: dict[str, Job] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    def start(self, tenant: str, work: Work) -> Job:
        """Starts a job. Raises Busy if the table is full of unfinished jobs."""
        self._make_room()
        job = Job(tenant)
        self._jobs[job.job_id] = job
        job.task = asyncio.get_running_loop().create_task(self._run(job, work), name=f"job {job.job_id}")
        return job

    def get(self, job_id: str, tenant: str) -> Job:
        """Returns a job of this tenant. Raises NotFound."""
        self._expire()
        job = self._jobs.get(job_id)
        if job is None or job.tenant != tenant:
            kept_min = self._kept_s / 60
            raise NotFound("job_unknown", f"no such job: the id is wrong, or it ended over {kept_min:g} minutes ago")
        return job

    async def remove(self, job_id: str, tenant: str) -> None:
        """Cancels the job if it is unfinished, and removes it. Raises NotFound."""
        job = self._jobs.pop(self.get(job_id, tenant).job_id)
        await _end(job)

    async def close(self) -> None:
        """Cancels and removes all jobs. Idempotent."""
        jobs, self._jobs = list(self._jobs.values()), {}
        for job in jobs:
            await _end(job)

    async def _run(self, job: Job, work: Work) -> None:
        try:
            job.result = await work(job.report_progress)
            job.state = JobState.DONE
        except Exception as error:      # noqa: BLE001 - the outermost frame of a job
            job.problem = problem_of(error)
            job.state = JobState.FAILED
        finally:
            job.finished_s = time.monotonic()

    def _expire(self) -> None:
        limit_s = time.monotonic() - self._kept_s
        for job in [j for j in self._jobs.values() if j.finished_s is not None and j.finished_s < limit_s]:
            del self._jobs[job.job_id]

    def _make_room(self) -> None:
        self._expire()
        if len(self._jobs) < self._max_jobs:
            return
        oldest = next((job for job in self._jobs.values() if job.finished_s is not None), None)
        if oldest is None:
            raise Busy("jobs_full", f"{self._max_jobs} jobs are unfinished, which is the limit; try again", 5)
        del self._jobs[oldest.job_id]


async def _end(job: Job) -> None:
    if job.task is not None:
        job.task.cancel()
        await asyncio.wait([job.task])
