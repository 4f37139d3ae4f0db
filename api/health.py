"""Whether the process answers and whether it can judge."""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque

import msgspec
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from api.context import AppContext, context_of
from api.following import LOST_S
from api.schemas import LiveAnswer, Model, ReadyAnswer

STALLED_S = 1.0

_TICK_S = 0.25
_TICKS_KEPT = 20
_FOLDERS = re.compile(r"(?<![\w.])/(?:[^\s/:'\"]+/)*")

router = APIRouter(tags=["health"])


class LoopWatch:
    """Measures how late the event loop is; remembers the last five seconds."""

    def __init__(self) -> None:
        self._lags_s: deque[float] = deque(maxlen=_TICKS_KEPT)
        self._task: asyncio.Task[None] | None = None

    @property
    def worst_lag_s(self) -> float:
        return max(self._lags_s, default=0.0)

    @property
    def latest_lag_s(self) -> float:
        return self._lags_s[-1] if self._lags_s else 0.0

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name="loop watch")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            before_s = time.monotonic()
            await asyncio.sleep(_TICK_S)
            self._lags_s.append(max(0.0, time.monotonic() - before_s - _TICK_S))


@router.get("/livez", responses={200: {"model": LiveAnswer}, 503: {"model": LiveAnswer}})
async def livez(request: Request) -> Response:
    """200 while the event loop keeps time; 503 after it was late by a second."""
    watch = context_of(request).loop_watch
    stalled = watch.latest_lag_s >= STALLED_S
    answer = LiveAnswer(
        status="stalled" if stalled else "alive", loop_lag_ms=round(watch.worst_lag_s * 1000, 1)
    )
    return _no_store(answer, 503 if stalled else 200)


@router.get("/readyz", responses={200: {"model": ReadyAnswer}, 503: {"model": ReadyAnswer}})
async def readyz(request: Request) -> Response:
    """200 while the service can judge; else 503 with the reasons."""
    context = context_of(request)
    status = context.service.status
    reasons = _reasons(context)
    answer = ReadyAnswer(
        status="not_ready" if reasons else "ready",
        reasons=reasons,
        problem=public_words(status.problem),
        model=Model(**msgspec.to_builtins(status.model)) if status.model else None,
        workers_ready=status.workers_ready,
        workers_wanted=status.workers_wanted,
        streams=status.streams,
        overloaded=status.overloaded,
    )
    return _no_store(answer, 503 if reasons else 200)


def public_words(problem: str) -> str:
    """Without the folders of this machine, which are nobody's business: only the last part of a path is left."""
    return _FOLDERS.sub("", problem)


def _reasons(context: AppContext) -> list[str]:
    status = context.service.status
    reasons = []
    if context.judging.draining:
        reasons.append("draining")
    if status.workers_ready == 0:
        reasons.append("no_worker")
    if status.model is None:
        reasons.append("no_model")
    if context.gateway is not None and context.gateway.unreachable_s > LOST_S:
        reasons.append("no_broker")
    return reasons


def _no_store(answer: LiveAnswer | ReadyAnswer, status: int) -> Response:
    return JSONResponse(answer.model_dump(), status, headers={"Cache-Control": "no-store"})
