"""Service start-up: checks exposure, binds the socket, starts the workers while HTTP and WebRTC are imported."""

from __future__ import annotations

import asyncio
import resource
from importlib import import_module

import structlog

from api.http.listener import listening_socket
from api.settings.base import Settings, require_safe_exposure
from api.settings.factories import running_service
from stream.event_bus import EventBus

log = structlog.get_logger(__name__)

_OPEN_FILES = 8192


async def run_server(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT. Raises SettingsRefused, and WorkerLost if no worker starts.

    HTTP and WebRTC take two seconds to import; the workers start meanwhile.
    """
    require_safe_exposure(settings)
    _raise_open_file_limit()
    with listening_socket(settings.host, settings.port) as listener:
        if not settings.api_keys:
            _warn_without_keys(settings)
        bus = EventBus()
        loading = asyncio.create_task(asyncio.to_thread(import_module, "api.asgi_server"))
        try:
            async with running_service(settings, bus) as service:
                server = await loading
                await server.serve(settings, bus, service, listener)
        finally:
            await asyncio.wait([loading])
    log.info("stopped")


def _raise_open_file_limit() -> None:
    """Raises the soft limit of open files: the default of most systems is below the connection limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _warn_without_keys(settings: Settings) -> None:
    if settings.is_loopback:
        log.warning("DEEPGUARD_API_KEYS is empty: only this machine can use the service")
    else:
        log.warning("DEEPGUARD_INSECURE=1 and DEEPGUARD_API_KEYS is empty: any client can use the service")
