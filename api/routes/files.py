"""File endpoints: `/predict`, `/gradcam`, `/health` and `/v1/limits`. `api.routes.legacy_answers` builds the bodies."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Annotated, Any

import httpx
from fastapi import APIRouter, Depends, Query, Request, Response

from api.errors import NoModel, Unprocessable, UploadRefused
from api.http.auth import Caller
from api.ingest.pull.errors import PullFailed
from api.routes.context import AppContext, context_of
from api.routes.dependencies import limit
from api.routes.jobs import JobAnswer, job_answer
from api.routes.json_answers import NO_STORE, described, json_response
from api.routes.legacy_answers import APP_NAME, gradcam_answer, predict_answer
from api.routes.probes import without_folders
from api.routes.schemas import (
    Band,
    ErrorAnswer,
    GradcamAnswer,
    HealthAnswer,
    ImageAnswer,
    LimitsAnswer,
    VideoAnswer,
)
from api.settings.factories import stream_config
from api.uploads.bodies import Fetch
from api.uploads.file_jobs import FileResult, Progress
from api.uploads.spool import PICTURE_EXTENSIONS, VIDEO_EXTENSIONS, Upload
from api.version import VERSION
from consumers.outbound_http import OutboundRequest
from stream.config import DecisionConfig
from stream.events import REASON_TEXT, Reason
from stream.file_verdict import FileVerdict, JudgeOptions
from stream.sprt import posterior, wald_bounds

router = APIRouter(tags=["files"])

_FETCH_BYTES = 64 * 1024
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "image/*": _BINARY,
            "video/*": _BINARY,
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {"data": {"type": "string", "format": "byte"}, "url": {"type": "string"}},
                }
            },
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            }
        },
    }
}
_REFUSALS: dict[int | str, dict[str, Any]] = {
    code: described(ErrorAnswer) for code in (400, 401, 408, 413, 415, 422, 429, 503)
}


@router.get("/health", responses={200: described(HealthAnswer)})
async def health(request: Request) -> Response:
    """Returns whether a model is loaded. For clients of the older API; probes use `/readyz`."""
    status = context_of(request).service.status
    loaded = status.model is not None
    problem = "" if loaded else without_folders(status.problem) or "no detection model is loaded"
    return json_response(HealthAnswer(
        status="running", app_name=APP_NAME, version=VERSION, model_loaded=loaded, problem=problem
    ))


@router.get("/v1/limits", responses={200: described(LimitsAnswer)})
async def limits(request: Request) -> Response:
    """Returns the limits and options that clients need before they send media."""
    context = context_of(request)
    return json_response(LimitsAnswer(
        version=VERSION,
        auth_required=context.auth.required,
        max_upload_bytes=context.settings.max_file_size_bytes,
        upload_extensions=(*PICTURE_EXTENSIONS, *VIDEO_EXTENSIONS),
        max_streams=context.settings.max_streams,
        undecided=_undecided(stream_config(context.settings).decision),
    ))


@router.post(
    "/predict",
    openapi_extra=_FORM,
    responses={200: described(ImageAnswer, VideoAnswer), 202: described(JobAnswer), **_REFUSALS},
)
async def predict(
    request: Request,
    caller: Annotated[Caller, Depends(limit("upload"))],
    as_job: Annotated[bool, Query(alias="async", description="answer 202 with a job; poll `status_url`")] = False,
) -> Response:
    """Returns the verdict on a picture or video."""
    context = context_of(request)
    upload = await context.spool.receive(request, caller.identity, _fetch(context))
    if as_job:
        return _start_job(context, caller, upload)
    started_s = time.monotonic()
    result = await _until_disconnect(request, context.file_jobs.analyze(upload, _options(context)))
    return _answer(predict_answer(result.verdict, time.monotonic() - started_s), result.cached)


@router.post("/gradcam", openapi_extra=_FORM, responses={200: described(GradcamAnswer), **_REFUSALS})
async def gradcam(request: Request, caller: Annotated[Caller, Depends(limit("upload"))]) -> Response:
    """Returns the verdict on a picture with a heat map (Grad-CAM) of the evidence."""
    context = context_of(request)
    upload = await context.spool.receive(request, caller.identity, _fetch(context))
    if upload.file_type != "image":
        upload.discard()
        raise UploadRefused(415, "not_a_picture", "the file is a video; heat maps are available for pictures only")
    result = await _until_disconnect(request, context.file_jobs.analyze(upload, _options(context, heat_map=True)))
    return _answer(gradcam_answer(result.verdict, _heat_map(result.verdict)), result.cached)


def _fetch(context: AppContext) -> Fetch:
    """Returns the function that fetches a file by URL, under the policy of pulled sources."""

    @asynccontextmanager
    async def fetch(url: str) -> AsyncIterator[AsyncIterator[bytes]]:
        try:
            context.pulled_sources.dialer.policy.check(url, ("http", "https"))
            async with context.pulled_sources.dialer.fetch(OutboundRequest("GET", url)) as fetched:
                yield fetched.response.aiter_raw(_FETCH_BYTES)
        except PullFailed as failed:
            raise Unprocessable(failed.code, f"url: {failed.message}") from None
        except httpx.HTTPError as error:
            raise Unprocessable("connection_lost", f"url: the connection broke off: {type(error).__name__}") from None

    return fetch


def _start_job(context: AppContext, caller: Caller, upload: Upload) -> Response:
    async def work(progress: Progress) -> ImageAnswer | VideoAnswer:
        started_s = time.monotonic()
        result = await context.file_jobs.analyze(upload, _options(context), progress)
        return predict_answer(result.verdict, time.monotonic() - started_s)

    try:
        job = context.jobs.start(caller.tenant, work)
    except BaseException:
        upload.discard()
        raise
    answer = job_answer(job)
    return json_response(answer, 202, {"Location": answer.status_url, **NO_STORE})


async def _until_disconnect(request: Request, work: Coroutine[Any, Any, FileResult]) -> FileResult:
    """Returns the result of `work`; cancels it when the client disconnects, to free the worker."""
    verdict = asyncio.ensure_future(work)
    disconnect = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({verdict, disconnect}, return_when=asyncio.FIRST_COMPLETED)
        if not verdict.done():
            raise UploadRefused(400, "client_gone", "the connection was closed before the verdict")
        return verdict.result()
    finally:
        for task in (verdict, disconnect):
            task.cancel()
        await asyncio.wait({verdict, disconnect})


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _heat_map(verdict: FileVerdict) -> bytes:
    if verdict.heat_map_png is not None:
        return verdict.heat_map_png
    if verdict.reason in (Reason.NO_MODEL, Reason.SCORER_FAILED):
        raise NoModel(verdict.reason.value, REASON_TEXT[verdict.reason])
    raise Unprocessable(verdict.reason.value, f"no heat map for this picture: {REASON_TEXT[verdict.reason]}")


def _options(context: AppContext, heat_map: bool = False) -> JudgeOptions:
    return JudgeOptions(max_samples=context.settings.video_frame_count, heat_map=heat_map)


def _answer(answer: object, cached: bool) -> Response:
    return json_response(answer, headers={"X-Cache": "HIT" if cached else "MISS", **NO_STORE})


def _undecided(decision: DecisionConfig) -> Band:
    bounds = wald_bounds(decision.false_alarm, decision.miss)
    return Band(low=posterior(bounds.lower, decision), high=posterior(bounds.upper, decision))
