from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from api.errors import Busy, NotFound
from api.routes.jobs import job_answer
from api.uploads.job_table import Job, JobTable
from stream.errors import MediaRefused
from tests.api.shapes import deviations, golden

if TYPE_CHECKING:
    from api.uploads.file_jobs import Progress


class Gate:
    """Work that continues when the test opens the gate."""

    def __init__(self, error: Exception | None = None) -> None:
        self.open = asyncio.Event()
        self.cancelled = False
        self._error = error

    async def __call__(self, progress: Progress) -> dict[str, Any]:
        progress(3, 12)
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        if self._error is not None:
            raise self._error
        return {"label": "UNCERTAIN"}


def told(job: Job) -> dict[str, Any]:
    """The answer on a job, as a client decodes it."""
    decoded: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(job_answer(job)))
    return decoded


async def until_ended(table: JobTable, job_id: str, tenant: str = "") -> dict[str, Any]:
    task = table.get(job_id, tenant).task
    assert task is not None
    await asyncio.wait([task])
    return told(table.get(job_id, tenant))


async def test_a_job_reports_its_progress_and_result() -> None:
    table, gate = JobTable(), Gate()
    job = table.start("", gate)
    assert (told(job)["state"], told(job)["progress"]) == ("queued", 0.0)
    await asyncio.sleep(0)
    running = told(job)
    assert (running["state"], running["progress"], running["done"], running["planned"]) == ("running", 0.25, 3, 12)
    assert deviations(golden("job"), running) == []
    gate.open.set()
    done = await until_ended(table, job.job_id)
    assert (done["state"], done["progress"], done["result"]) == ("done", 1.0, {"label": "UNCERTAIN"})
    assert done["status_url"] == f"/v1/jobs/{job.job_id}"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [(MediaRefused("truncated", "it ends early"), 422, "truncated"), (ZeroDivisionError(), 500, "internal_error")],
)
async def test_a_failed_job_reports_its_error(error: Exception, status: int, code: str) -> None:
    table, gate = JobTable(), Gate(error)
    job = table.start("", gate)
    gate.open.set()
    failed = await until_ended(table, job.job_id)
    assert failed["state"] == "failed"
    assert (failed["error"]["status"], failed["error"]["code"]) == (status, code)
    assert "result" not in failed


async def test_a_removed_job_is_cancelled_and_forgotten() -> None:
    table, gate = JobTable(), Gate()
    job = table.start("", gate)
    await asyncio.sleep(0)
    await table.remove(job.job_id, "")
    assert gate.cancelled
    with pytest.raises(NotFound):
        table.get(job.job_id, "")


async def test_a_job_is_invisible_to_other_tenants() -> None:
    table, gate = JobTable(), Gate()
    job = table.start("one", gate)
    with pytest.raises(NotFound):
        table.get(job.job_id, "two")
    with pytest.raises(NotFound):
        await table.remove(job.job_id, "two")
    assert table.get(job.job_id, "one") is job
    await table.close()


async def test_names_cannot_be_guessed() -> None:
    table, gate = JobTable(), Gate()
    names = {table.start("", gate).job_id for _ in range(50)}
    assert len(names) == 50
    assert all(len(name) >= 20 for name in names)
    await table.close()


async def test_the_table_is_bounded_and_the_oldest_that_ended_gives_way() -> None:
    table, done, stuck = JobTable(max_jobs=2), Gate(), Gate()
    done.open.set()
    first, second = table.start("", done), table.start("", stuck)
    await until_ended(table, first.job_id)
    third = table.start("", stuck)
    with pytest.raises(NotFound):
        table.get(first.job_id, "")
    with pytest.raises(Busy) as full:
        table.start("", stuck)
    assert full.value.retry_after_s
    assert {second.job_id, third.job_id} == {j for j in (second.job_id, third.job_id) if table.get(j, "")}
    await table.close()
    assert len(table) == 0


async def test_finished_jobs_expire() -> None:
    table, gate = JobTable(kept_s=0.05), Gate()
    gate.open.set()
    job = table.start("", gate)
    await until_ended(table, job.job_id)
    await asyncio.sleep(0.1)
    with pytest.raises(NotFound):
        table.get(job.job_id, "")
    assert len(table) == 0
