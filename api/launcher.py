"""Starts the service: checks exposure, binds the socket, starts the workers while HTTP and WebRTC are imported."""

from __future__ import annotations

import asyncio
import resource
from importlib import import_module

import structlog

from api.http.listener import listening_socket
from api.settings.base import Settings, require_safe_exposure
from api.settings.factories import running_service
from stream.event_bus import Bus

log = structlog.get_logger(__name__)

_FILES = 8192


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


def _say_who_may_call(settings: Settings) -> None:
    if settings.is_loopback:
        log.warning("no DEEPGUARD_API_KEYS: only this machine can use the service")
    else:
        log.warning("no DEEPGUARD_API_KEYS and DEEPGUARD_INSECURE=1: everybody who can reach the port may use it")
