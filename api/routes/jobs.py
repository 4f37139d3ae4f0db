"""`/v1/jobs/{job_id}`: progress and result of an upload that is analyzed in the background."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from msgspec import UNSET, Meta, UnsetType

from api.http.auth import Caller
from api.routes.context import context_of
from api.routes.dependencies import require_key
from api.routes.json_answers import NO_STORE, described, json_response
from api.routes.schemas import Answer, ErrorAnswer, ErrorDetail, ImageAnswer, VideoAnswer
from api.uploads.job_table import Job, JobState


class JobError(ErrorDetail, frozen=True, kw_only=True):
    """The error of a failed job, with the HTTP status it would have had."""

    status: int


_FileAnswer = Annotated[
    Any, Meta(extra_json_schema={"anyOf": [
        {"$ref": f"#/components/schemas/{kind.__name__}"} for kind in (ImageAnswer, VideoAnswer)
    ]}),
]


class JobAnswer(Answer, frozen=True, kw_only=True):
    """A job; `progress` is in 0..1. `result` is there once `state` is done, `error` once it is failed."""

    job_id: str
    status_url: str
    state: JobState
    progress: float
    done: int
    planned: int
    result: _FileAnswer = UNSET
    error: JobError | UnsetType = UNSET


router = APIRouter(tags=["jobs"])


@router.get("/v1/jobs/{job_id}", responses={200: described(JobAnswer), 404: described(ErrorAnswer)})
async def get_job(request: Request, job_id: str, caller: Annotated[Caller, Depends(require_key)]) -> Response:
    """Returns the progress of a job, and its result or error once it has ended."""
    job = context_of(request).jobs.get(job_id, caller.tenant)
    return json_response(job_answer(job), headers=NO_STORE)


@router.delete("/v1/jobs/{job_id}", status_code=204, responses={404: described(ErrorAnswer)})
async def delete_job(request: Request, job_id: str, caller: Annotated[Caller, Depends(require_key)]) -> Response:
    """Cancels a job if it is unfinished, and deletes it."""
    await context_of(request).jobs.remove(job_id, caller.tenant)
    return Response(status_code=204)


def job_answer(job: Job) -> JobAnswer:
    """Returns what a client sees of a job."""
    share = 1.0 if job.state is JobState.DONE else job.done / job.planned if job.planned else 0.0
    problem = job.problem
    return JobAnswer(
        job_id=job.job_id,
        status_url=f"/v1/jobs/{job.job_id}",
        state=job.state,
        progress=round(min(share, 1.0), 4),
        done=job.done,
        planned=job.planned,
        result=UNSET if job.result is None else job.result,
        error=UNSET if problem is None else JobError(
            status=problem.status, code=problem.code, message=problem.message
        ),
    )
