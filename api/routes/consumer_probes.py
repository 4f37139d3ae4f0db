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

from api.http.listener import listening_socket, url_of
from api.routes.metrics import consumer_metrics, exposition, incidents_lost
from api.routes.probes import without_folders

if TYPE_CHECKING:
    from api.incidents.incident_publisher import IncidentPublisher
    from api.settings.base import Settings
    from consumers.consumer import Consumer
    from stream.worker_pool import WorkerPool

log = structlog.get_logger(__name__)


@asynccontextmanager
async def probes_served(
    settings: Settings, consumer: Consumer, pool: WorkerPool, publisher: IncidentPublisher
) -> AsyncIterator[None]:
    """Serves `probes_app` on DEEPGUARD_HEALTH_PORT for the block; nothing if that is 0. Raises SettingsRefused."""
    if not settings.health_port:
        yield
        return
    with listening_socket(settings.host, settings.health_port) as listener:
        config = uvicorn.Config(
            probes_app(consumer, pool, publisher), log_config=None, access_log=False, server_header=False,
            lifespan="off",
        )
        server = _ProbeServer(config)
        task = asyncio.create_task(server.serve(sockets=[listener]), name="health")
        log.info("health probes ready", url=url_of(listener))
        try:
            yield
        finally:
            server.should_exit = True
            await task


def probes_app(consumer: Consumer, pool: WorkerPool, publisher: IncidentPublisher) -> Starlette:
    """Returns an app with `/livez`, `/readyz` and `/metrics`."""

    async def livez(request: Request) -> JSONResponse:
        return JSONResponse({"status": "alive"})

    async def readyz(request: Request) -> JSONResponse:
        status, workers = consumer.status, pool.status
        reasons = [*status.reasons, *(() if workers.ready else ("no_worker",))]
        reasons += [] if workers.model is not None else ["no_model"]
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
        return exposition([*consumer_metrics(consumer.status, pool.status), incidents_lost(publisher.lost)])

    return Starlette(routes=[Route("/livez", livez), Route("/readyz", readyz), Route("/metrics", metrics)])


class _ProbeServer(uvicorn.Server):
    """uvicorn without signal handlers; the consumer handles signals."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
