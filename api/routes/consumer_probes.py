"""Health probes and metrics of `deepguard consume`, over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from api.http.auth import KeyRing, bearer_of
from api.http.error_responses import error_response, problem_of
from api.http.listener import listening_socket, url_of
from api.routes.dependencies import unauthorized
from api.routes.metrics import alarm_metrics, consumer_metrics, exposition
from api.routes.probes import without_folders

if TYPE_CHECKING:
    from api.incidents.lifecycle import IncidentService
    from api.settings.base import Settings
    from consumers.consumer import Consumer
    from stream.worker_pool import WorkerPool

log = structlog.get_logger(__name__)


@asynccontextmanager
async def probes_served(
    settings: Settings, consumer: Consumer, pool: WorkerPool, incidents: IncidentService
) -> AsyncIterator[None]:
    """Serves `probes_app` on DEEPGUARD_HEALTH_PORT for the block; nothing if that is 0. Raises SettingsRefused."""
    if not settings.health_port:
        yield
        return
    with listening_socket(settings.host, settings.health_port) as listener:
        config = uvicorn.Config(
            probes_app(settings, consumer, pool, incidents), log_config=None, access_log=False,
            server_header=False, lifespan="off",
        )
        server = _ProbeServer(config)
        task = asyncio.create_task(server.serve(sockets=[listener]), name="health")
        log.info("health probes ready", url=url_of(listener))
        try:
            yield
        finally:
            server.should_exit = True
            await task


def probes_app(settings: Settings, consumer: Consumer, pool: WorkerPool, incidents: IncidentService) -> Starlette:
    """Returns an app with `/livez`, `/readyz` and `/metrics`."""
    ring = KeyRing(key.get_secret_value() for key in settings.api_keys)

    async def livez(request: Request) -> JSONResponse:
        return JSONResponse({"status": "alive"})

    async def readyz(request: Request) -> JSONResponse:
        status, workers = consumer.status, pool.status
        reasons = [*status.reasons, *(() if workers.ready else ("no_worker",))]
        reasons += [] if workers.model is not None else ["no_model"]
        reasons += ["no_storage"] if incidents.fault else []
        answer = {
            "status": "not_ready" if reasons else "ready",
            "reasons": reasons,
            "problem": without_folders(workers.problem),
            "workers_ready": workers.ready,
            "workers_wanted": workers.wanted,
            "partitions": [partition._asdict() for partition in status.partitions],
            "dead_letters": status.dead_letters,
            "dead_letters_left_out": status.discarded,
        }
        return JSONResponse(answer, 503 if reasons else 200, {"Cache-Control": "no-store"})

    async def metrics(request: Request) -> Response:
        token = bearer_of(request.headers.get("authorization")) or ""
        if settings.metrics_private and ring.required and ring.identify(token) is None:
            return error_response(problem_of(unauthorized()))
        return exposition([*consumer_metrics(consumer.status, pool.status), *alarm_metrics(incidents.publisher)])

    return Starlette(routes=[Route("/livez", livez), Route("/readyz", readyz), Route("/metrics", metrics)])


class _ProbeServer(uvicorn.Server):
    """uvicorn without signal handlers; the consumer handles signals."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
