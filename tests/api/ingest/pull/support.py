"""Pulled sources whose frames end in a list, and the servers of this machine that they are pulled from."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import av
import uvicorn
from starlette.applications import Starlette
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from api.ingest.aiortc_patches import Network
from api.ingest.pull.dialer import Dialer
from api.ingest.pull.pulled_sources import PullConfig, PulledSources
from api.ingest.pull.puller import PullTimeouts
from api.ingest.pull.url_policy import PullPolicy
from tests.api.whip_rig import CollectingService, registry_of, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request
    from starlette.types import ASGIApp

    from api.ingest.registry import SourceRegistry

SAMPLE = Path("api/demo_media/sample_call.mp4")
LOOPBACK = PullPolicy(networks=(ip_network("127.0.0.0/8"),))
QUICK = PullTimeouts(silence_s=10.0, retry_s=30.0, first_wait_s=0.1, longest_wait_s=0.5)


class PullRig(NamedTuple):
    """Pulled sources, and the registry that holds them."""

    sources: PulledSources
    registry: SourceRegistry


@asynccontextmanager
async def pulls_of(
    service: CollectingService, policy: PullPolicy = LOOPBACK, timeouts: PullTimeouts = QUICK, **dialer: Any
) -> AsyncIterator[PullRig]:
    """Pulled sources of this machine's servers, closed whatever becomes of the test."""
    async with registry_of(service) as registry:
        config = PullConfig(8, Dialer(policy, **dialer), timeouts, Network(loopback=True))
        yield PullRig(PulledSources(config, registry), registry)


@asynccontextmanager
async def serving(app: ASGIApp, certificate: Path | None = None) -> AsyncIterator[str]:
    """The base URL of a server of this loop; with TLS, if there is a PEM of certificate and key."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", ssl_certfile=certificate))
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            await until(lambda: server.started)
            yield f"http{'s' if certificate else ''}://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task


class Site(NamedTuple):
    """A folder over HTTP, with `/to?url=` that redirects. `asked` are the paths of all requests."""

    url: str
    asked: list[str]


@asynccontextmanager
async def site_of(folder: Path, certificate: Path | None = None) -> AsyncIterator[Site]:
    asked: list[str] = []
    files = StaticFiles(directory=folder)

    async def redirect(request: Request) -> Response:
        return RedirectResponse(request.query_params["url"])

    app = Starlette(routes=[Route("/to", redirect), Mount("/", files)])

    async def counted(scope: Any, receive: Any, send: Any) -> None:
        asked.append(scope["path"])
        await app(scope, receive, send)

    async with serving(counted, certificate) as url:
        yield Site(url, asked)


@asynccontextmanager
async def canary() -> AsyncIterator[tuple[int, list[object]]]:
    """A port of this machine and who connected to it."""
    seen: list[object] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(writer.get_extra_info("peername"))
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], seen


def remux(target: Path, seconds: float, form: str | None = None, **options: str) -> Path:
    """The first seconds of the sample call in another container, not coded anew."""
    with av.open(str(SAMPLE)) as clip, av.open(str(target), "w", format=form, options=options) as out:
        stream: Any = out.add_stream_from_template(clip.streams.video[0])
        for packet in clip.demux(video=0):
            if packet.dts is None or packet.pts is None or packet.time_base is None:
                continue
            if float(packet.pts * packet.time_base) >= seconds:
                break
            packet.stream = stream
            out.mux(packet)
    return target
