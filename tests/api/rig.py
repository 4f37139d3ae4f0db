"""The real service under the real server, in a thread of its own, on a free port of this machine."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

from api.app import running_context
from api.asgi_server import make_server
from api.http.h11_protocol import DeadlineProtocol
from api.http.listener import listening_socket, url_of
from api.settings.base import Settings
from api.settings.factories import running_service
from stream.event_bus import EventBus

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from api.asgi_server import Server
    from api.routes.context import AppContext

Result = TypeVar("Result")

START_S = 60.0
GENEROUS = {"upload_rate_per_min": 100_000, "offer_rate_per_min": 100_000}


@dataclass(frozen=True)
class Rig:
    """A running service. `context` belongs to another thread: use it through `call` and `run` alone."""

    url: str
    context: AppContext
    server: Server
    loop: asyncio.AbstractEventLoop

    @property
    def ws_url(self) -> str:
        return self.url.replace("http", "ws", 1) + "/ws"

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def client(self, key: str = "", **options: Any) -> httpx.Client:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60, **options)

    def run(self, work: Awaitable[Result]) -> Result:
        """Awaits something in the service's loop."""

        async def awaited() -> Result:
            return await work

        return asyncio.run_coroutine_threadsafe(awaited(), self.loop).result(30)

    def call(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Calls something in the service's loop."""

        async def called() -> Result:
            return function(*arguments)

        return self.run(called())


@contextmanager
def running_rig(protocol: type[DeadlineProtocol] = DeadlineProtocol, **settings: Any) -> Iterator[Rig]:
    """A service with these settings on top of the defaults: one worker, no log file, generous rate limits, and a
    database of its own."""
    with TemporaryDirectory() as folder:
        yield from _running(protocol, {"database_url": f"sqlite:///{folder}/incidents.sqlite", **settings})


def _running(protocol: type[DeadlineProtocol], settings: dict[str, Any]) -> Iterator[Rig]:
    values = {"port": 0, "host": "127.0.0.1", "workers": 1, "log_dir": "", **GENEROUS, **settings}
    started = threading.Event()
    found: list[Rig] = []
    errors: list[BaseException] = []

    async def serve() -> None:
        with listening_socket(values["host"], values["port"]) as listener:
            settings, bus = Settings(**values), EventBus()
            async with (
                running_service(settings, bus) as service,
                running_context(settings, bus, service) as context,
            ):
                server = make_server(context, protocol)
                found.append(Rig(url_of(listener), context, server, asyncio.get_running_loop()))
                serving = asyncio.create_task(server.serve(sockets=[listener]))
                await server.ready.wait()
                started.set()
                await serving

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:      # noqa: BLE001 - reported by the thread that waits
            errors.append(error)
        finally:
            started.set()

    thread = threading.Thread(target=run, name="service under test")
    thread.start()
    try:
        assert started.wait(START_S)
        assert not errors, errors
        yield found[0]
    finally:
        if found:
            found[0].server.should_exit = True
        thread.join(60)
        assert not thread.is_alive()
    assert not errors, errors
