"""`/v1/jobs/{job_id}`: progress and result of an upload that is judged in the background."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse

from api.http.auth import Caller
from api.routes.context import context_of
from api.routes.dependencies import require_key
from api.routes.schemas import ErrorAnswer, JobAnswer

router = APIRouter(tags=["jobs"])


@router.get("/v1/jobs/{job_id}", responses={200: {"model": JobAnswer}, 404: {"model": ErrorAnswer}})
async def get_job(request: Request, job_id: str, caller: Annotated[Caller, Depends(require_key)]) -> Response:
    """How far a job is, and its result or error once there is one."""
    job = context_of(request).jobs.get(job_id, caller.tenant)
    return JSONResponse(job.as_answer(), headers={"Cache-Control": "no-store"})


@router.delete("/v1/jobs/{job_id}", status_code=204, responses={404: {"model": ErrorAnswer}})
async def delete_job(request: Request, job_id: str, caller: Annotated[Caller, Depends(require_key)]) -> Response:
    """Cancels a job that is not finished, and forgets it."""
    await context_of(request).jobs.remove(job_id, caller.tenant)
    return Response(status_code=204)
