"""Liveness and readiness probes of `serve`."""

from __future__ import annotations

import re

from fastapi import APIRouter, Request, Response

from api.routes.context import AppContext, context_of
from api.routes.json_answers import NO_STORE, described, json_response
from api.routes.schemas import LiveAnswer, ReadyAnswer
from api.verdict_gateway import BROKER_LOST_AFTER_S

STALLED_S = 1.0

_FOLDERS = re.compile(r"(?<![\w.])/(?:[^\s/:'\"]+/)*")

router = APIRouter(tags=["health"])


@router.get("/livez", responses={200: described(LiveAnswer), 503: described(LiveAnswer)})
async def livez(request: Request) -> Response:
    """Returns 200 while the event loop responds; 503 if its latest lag is one second or more."""
    loop_lag = context_of(request).loop_lag
    stalled = loop_lag.latest_lag_s >= STALLED_S
    answer = LiveAnswer(
        status="stalled" if stalled else "alive", loop_lag_ms=round(loop_lag.worst_lag_s * 1000, 1)
    )
    return json_response(answer, 503 if stalled else 200, NO_STORE)


@router.get("/readyz", responses={200: described(ReadyAnswer), 503: described(ReadyAnswer)})
async def readyz(request: Request) -> Response:
    """Returns 200 while the service can analyze media; otherwise 503 with the reasons."""
    context = context_of(request)
    status = context.service.status
    reasons = _reasons(context)
    answer = ReadyAnswer(
        status="not_ready" if reasons else "ready",
        reasons=tuple(reasons),
        problem=without_folders(status.problem),
        model=status.model,
        workers_ready=status.workers_ready,
        workers_wanted=status.workers_wanted,
        streams=status.streams,
        overloaded=status.overloaded,
    )
    return json_response(answer, 503 if reasons else 200, NO_STORE)


def without_folders(problem: str) -> str:
    """Removes folder names from a message for clients; only the last part of each path is left."""
    return _FOLDERS.sub("", problem)


def _reasons(context: AppContext) -> list[str]:
    status = context.service.status
    reasons = []
    if context.file_jobs.draining:
        reasons.append("draining")
    if status.workers_ready == 0:
        reasons.append("no_worker")
    if status.model is None:
        reasons.append("no_model")
    if context.incidents.fault:
        reasons.append("no_storage")
    if context.gateway is not None and context.gateway.unreachable_s > BROKER_LOST_AFTER_S:
        reasons.append("no_broker")
    return reasons
