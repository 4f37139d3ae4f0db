"""Starts the service: who may reach it, the socket, and its two halves side by side."""

from __future__ import annotations

import asyncio
import resource
import socket
from importlib import import_module

import structlog

from api.errors import SettingsRefused
from api.settings.base import Settings, require_safe_exposure
from api.settings.factories import running_service
from stream.event_bus import Bus

log = structlog.get_logger(__name__)

BACKLOG = 256
_SEND_BUFFER_BYTES = 128 * 1024
_UNREAD_LIMIT_MS = 4000
_FILES = 8192


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
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise SettingsRefused(f"PORT, HOST: cannot listen on {host}:{port} ({error.strerror})") from None
    listener.setblocking(False)
    return listener


async def run_server(settings: Settings) -> None:
    """Serves until a signal comes. Raises SettingsRefused, and WorkerLost if no worker can be started.

    HTTP and WebRTC take two seconds to import; that goes on beside the start of the workers.
    """
    require_safe_exposure(settings)
    _allow_files()
    with listening_socket(settings.host, settings.port) as listener:
        if not settings.api_keys:
            _say_who_may_call(settings)
        bus = Bus()
        loading = asyncio.create_task(asyncio.to_thread(import_module, "api.asgi_server"))
        try:
            async with running_service(settings, bus) as service:
                serving = await loading
                await serving.serve(settings, bus, service, listener)
        finally:
            await asyncio.wait([loading])
    log.info("stopped")


def _allow_files() -> None:
    """As many connections as there may be need more files than most systems allow at first."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def url_of(listener: socket.socket) -> str:
    """Where a browser on this machine finds it."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _say_who_may_call(settings: Settings) -> None:
    if settings.is_loopback:
        log.warning("no DEEPGUARD_API_KEYS: only this machine can use the service")
    else:
        log.warning("no DEEPGUARD_API_KEYS and DEEPGUARD_INSECURE=1: everybody who can reach the port may use it")
