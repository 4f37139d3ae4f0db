"""uvicorn server of the application, with graceful shutdown on SIGTERM and SIGINT. Slow to import."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import structlog
import uvicorn

from api.app import create_app, running_context
from api.http.h11_protocol import DeadlineProtocol
from api.http.listener import BACKLOG, url_of
from api.http.websocket_protocol import QuietWebSocketProtocol
from api.routes.events_websocket import MAX_MESSAGE_BYTES

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from api.routes.context import AppContext
    from api.settings.base import Settings
    from stream.event_bus import EventBus
    from stream.stream_service import StreamService

log = structlog.get_logger(__name__)

DRAIN_S = 10.0


async def serve(settings: Settings, bus: EventBus, service: StreamService, listener: socket.socket) -> None:
    """Serves HTTP for a running stream service until SIGTERM or SIGINT."""
    async with running_context(settings, bus, service) as context, asyncio.TaskGroup() as group:
        server = make_server(context)
        group.create_task(_announce(server, url_of(listener)))
        await server.serve(sockets=[listener])


class Server(uvicorn.Server):
    """uvicorn with an ordered shutdown: refuse new work, finish file jobs, end streams, close connections."""

    def __init__(self, config: uvicorn.Config, context: AppContext) -> None:
        super().__init__(config)
        self._context = context
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT shut down gracefully; the process exits with status 0."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        signals = (signal.SIGTERM, signal.SIGINT)
        for number in signals:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        log.info("draining", streams=self._context.service.status.streams)
        await self._context.file_jobs.drain(DRAIN_S)
        await self._context.service.close()
        await super().shutdown(sockets)


def make_server(context: AppContext, protocol: type[DeadlineProtocol] = DeadlineProtocol) -> Server:
    """Returns a server for a running context; call `serve(sockets=[...])` on it."""
    return Server(config_of(create_app(context.settings, context), context.settings, protocol), context)


def config_of(app: ASGIApp, settings: Settings, protocol: type[DeadlineProtocol] = DeadlineProtocol) -> uvicorn.Config:
    """Returns the HTTP and WebSocket configuration, independent of the app."""
    return uvicorn.Config(
        app,
        http=protocol,
        ws=QuietWebSocketProtocol,
        ws_max_size=MAX_MESSAGE_BYTES,
        ws_per_message_deflate=False,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.proxies),
        forwarded_allow_ips=list(settings.proxies),
        timeout_graceful_shutdown=5,
        backlog=BACKLOG,
        lifespan="off",
    )


async def _announce(server: Server, url: str) -> None:
    await server.ready.wait()
    log.info("ready", url=url)
