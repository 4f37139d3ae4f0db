"""Whether a consumer answers and whether it can work, over HTTP."""

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
from api.routes.metrics import consumer_figures, exposition, incidents_lost
from api.routes.probes import public_words

if TYPE_CHECKING:
    from api.incidents.incident_publisher import IncidentDesk
    from api.settings.base import Settings
    from consumers.consumer import Consumer
    from stream.worker_pool import WorkerPool

log = structlog.get_logger(__name__)


@asynccontextmanager
async def health_served(
    settings: Settings, consumer: Consumer, pool: WorkerPool, desk: IncidentDesk
) -> AsyncIterator[None]:
    """`health_app` on the health port while the block runs; nothing if that is 0. Raises SettingsRefused."""
    if not settings.health_port:
        yield
        return
    with listening_socket(settings.host, settings.health_port) as listener:
        config = uvicorn.Config(
            health_app(consumer, pool, desk), log_config=None, access_log=False, server_header=False, lifespan="off"
        )
        server = _Server(config)
        task = asyncio.create_task(server.serve(sockets=[listener]), name="health")
        log.info("health", url=url_of(listener))
        try:
            yield
        finally:
            server.should_exit = True
            await task


def health_app(consumer: Consumer, pool: WorkerPool, desk: IncidentDesk) -> Starlette:
    """Answers at `/livez`, `/readyz` and `/metrics`."""

    async def livez(request: Request) -> JSONResponse:
        return JSONResponse({"status": "alive"})

    async def readyz(request: Request) -> JSONResponse:
        status, workers = consumer.status, pool.status
        reasons = [*status.reasons, *(() if workers.ready else ("no_worker",))]
        reasons += [] if workers.model is not None else ["no_model"]
        answer = {
            "status": "not_ready" if reasons else "ready",
            "reasons": reasons,
            "problem": public_words(workers.problem),
            "workers_ready": workers.ready,
            "workers_wanted": workers.wanted,
            "partitions": [partition._asdict() for partition in status.partitions],
            "dead_letters": status.dead_letters,
            "dead_letters_left_out": status.left_out,
        }
        return JSONResponse(answer, 503 if reasons else 200, {"Cache-Control": "no-store"})

    async def metrics(request: Request) -> Response:
        return exposition([*consumer_figures(consumer.status, pool.status), incidents_lost(desk.lost)])

    return Starlette(routes=[Route("/livez", livez), Route("/readyz", readyz), Route("/metrics", metrics)])


class _Server(uvicorn.Server):
    """Leaves signals to the consumer."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
