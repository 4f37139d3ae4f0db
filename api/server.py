"""Runs the application under uvicorn: sockets, signals, and an orderly end."""

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
from api.connections import GuardedProtocol
from api.errors import SettingsRefused
from api.live import MAX_MESSAGE_BYTES
from api.settings import Settings, require_safe_exposure

if TYPE_CHECKING:
    from api.context import AppContext

log = structlog.get_logger(__name__)

DRAIN_S = 10.0

_BACKLOG = 256
_SEND_BUFFER_BYTES = 128 * 1024
_UNREAD_LIMIT_MS = 4000


def listening_socket(host: str, port: int) -> socket.socket:
    """A bound socket whose connections are dropped if the peer does not take what we send for 4 s.

    Without that, a WebSocket client that stops reading holds its connection, and what is buffered for it, for good.
    Raises SettingsRefused.
    """
    host = "127.0.0.1" if host == "localhost" else host
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's algorithm off only where the protocol is named; with it every answer waits 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNREAD_LIMIT_MS)
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise SettingsRefused(f"PORT, HOST: cannot listen on {host}:{port} ({error.strerror})") from None
    listener.setblocking(False)
    return listener


class Server(uvicorn.Server):
    """uvicorn with our order of ending: nothing new, running work, streams, then connections."""

    def __init__(self, config: uvicorn.Config, context: AppContext) -> None:
        super().__init__(config)
        self._context = context
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT end the service in order, and the process with status 0."""
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
        await self._context.judging.drain(DRAIN_S)
        await self._context.service.close()
        await super().shutdown(sockets)


def make_server(context: AppContext, protocol: type[GuardedProtocol] = GuardedProtocol) -> Server:
    """A server for `serve(sockets=[...])` on a running context."""
    settings = context.settings
    config = uvicorn.Config(
        create_app(settings, context),
        http=protocol,
        ws="websockets-sansio",
        ws_max_size=MAX_MESSAGE_BYTES,
        ws_per_message_deflate=False,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.proxies),
        forwarded_allow_ips=list(settings.proxies),
        timeout_graceful_shutdown=5,
        backlog=_BACKLOG,
        lifespan="off",
    )
    return Server(config, context)


async def run_server(settings: Settings) -> None:
    """Serves until a signal comes. Raises SettingsRefused, and WorkerLost if no worker can be started."""
    require_safe_exposure(settings)
    with listening_socket(settings.host, settings.port) as listener:
        if not settings.api_keys:
            _say_who_may_call(settings)
        async with running_context(settings) as context, asyncio.TaskGroup() as group:
            server = make_server(context)
            group.create_task(_announce(server, url_of(listener)))
            await server.serve(sockets=[listener])
    log.info("stopped")


def url_of(listener: socket.socket) -> str:
    """Where a browser on this machine finds it."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def _announce(server: Server, url: str) -> None:
    await server.ready.wait()
    log.info("ready", url=url)


def _say_who_may_call(settings: Settings) -> None:
    if settings.is_loopback:
        log.warning("no DEEPGUARD_API_KEYS: only this machine can use the service")
    else:
        log.warning("no DEEPGUARD_API_KEYS and DEEPGUARD_INSECURE=1: everybody who can reach the port may use it")
