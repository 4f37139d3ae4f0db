"""A WHIP endpoint over real HTTP and UDP whose frames end in a list: for what lies before the stream service."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, NamedTuple

import uvicorn
from fastapi import FastAPI

from api.http.auth import KeyRing
from api.http.error_responses import install_error_handlers
from api.http.rate_limit import RateLimiter
from api.ingest.registry import SourceRegistry
from api.ingest.whip.config import WhipConfig
from api.ingest.whip.session import WhipSession
from api.ingest.whip.sessions import WhipSessions
from api.routes.whip import router
from stream.errors import ServiceDraining, ServiceFull, StreamExists, StreamUnknown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from stream.display_transform import DisplayTransform
    from stream.protocols import SourceControl
    from stream.stream_session import StreamSpec
    from stream.temporal_layers import Layer
    from stream.types import DropCause, EndReason


async def until(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    """Waits for something that happens in another task, or fails."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.01)


class Unit(NamedTuple):
    """What a session was fed."""

    payload: bytes
    pts_s: float
    keyframe: bool
    capture_s: float
    layer: Layer
    display: DisplayTransform


@dataclass
class CollectingSession:
    """Keeps everything."""

    spec: StreamSpec
    control: SourceControl | None
    service: CollectingService
    units: list[Unit] = field(default_factory=list)
    gaps: list[DropCause] = field(default_factory=list)
    ended: EndReason | None = None
    message: str = ""
    problem: DropCause | None = None

    def feed(
        self, payload: bytes, pts_s: float, keyframe: bool, capture_s: float, layer: Layer, *, display: DisplayTransform
    ) -> None:
        self.units.append(Unit(payload, pts_s, keyframe, capture_s, layer, display))

    def gap(self, cause: DropCause) -> None:
        self.gaps.append(cause)

    async def end(self, reason: EndReason, message: str = "") -> None:
        if self.ended is None:
            self.ended, self.message, self.control = reason, message, None
            self.service.live.pop(self.spec.stream, None)


class CollectingService:
    """The stream service's face to publishers. `refusal` is raised by the next `open`."""

    def __init__(self, max_streams: int = 64) -> None:
        self.max_streams = max_streams
        self.draining = False
        self.refusal: Exception | None = None
        self.live: dict[str, CollectingSession] = {}
        self.sessions: list[CollectingSession] = []

    def check_admission(self, stream: str, arriving: int = 0) -> None:
        if self.draining:
            raise ServiceDraining("the service is shutting down")
        if stream in self.live:
            raise StreamExists(stream)
        if len(self.live) + arriving >= self.max_streams:
            raise ServiceFull("full", 5)

    def open(self, spec: StreamSpec, control: SourceControl) -> CollectingSession:
        if self.refusal is not None:
            raise self.refusal
        self.check_admission(spec.stream)
        session = CollectingSession(spec, control, self)
        self.live[spec.stream] = session
        self.sessions.append(session)
        return session

    async def stop(self, stream: str, reason: EndReason) -> None:
        """As the real service does it: the source is hung up first, then the stream ends."""
        session = self.live.get(stream)
        if session is None:
            raise StreamUnknown(f"no stream {stream!r} is running")
        if session.control is not None:
            await session.control.close()
        await session.end(reason)

    async def first(self, timeout_s: float = 30.0) -> CollectingSession:
        """The first stream, once it has a frame."""
        await until(lambda: bool(self.sessions and self.sessions[0].units), timeout_s)
        return self.sessions[0]


class Rig(NamedTuple):
    """`url` is the base URL of the running server."""

    url: str
    sessions: WhipSessions
    registry: SourceRegistry
    service: CollectingService

    def session(self, stream: str) -> WhipSession:
        """The session of this stream."""
        session = self.registry.get(stream)
        assert isinstance(session, WhipSession)
        return session


def whip_app(sessions: WhipSessions, keys: tuple[str, ...] = (), offers_per_min: int = 10_000) -> FastAPI:
    """The WHIP routes with what they need of the context."""
    app = FastAPI()
    app.include_router(router)
    install_error_handlers(app)
    app.state.context = SimpleNamespace(
        whip_sessions=sessions, auth=KeyRing(keys), limiter=RateLimiter(60, offers_per_min)
    )
    return app


@asynccontextmanager
async def registry_of(service: CollectingService) -> AsyncIterator[SourceRegistry]:
    """A registry that is closed whatever becomes of the test."""
    registry = SourceRegistry(service)
    try:
        yield registry
    finally:
        await registry.close()


@asynccontextmanager
async def whip_sessions_of(
    config: WhipConfig | None = None, service: CollectingService | None = None
) -> AsyncIterator[WhipSessions]:
    """WHIP sessions without a server."""
    async with registry_of(service or CollectingService()) as registry:
        yield WhipSessions(config or WhipConfig(), registry)


@asynccontextmanager
async def whip_rig(
    config: WhipConfig | None = None, *, keys: tuple[str, ...] = (), offers_per_min: int = 10_000
) -> AsyncIterator[Rig]:
    """A server on a free loopback port, in this event loop."""
    service = CollectingService()
    listener = socket.create_server(("127.0.0.1", 0))
    async with registry_of(service) as registry:
        sessions = WhipSessions(config or WhipConfig(), registry)
        app = whip_app(sessions, keys, offers_per_min)
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            await until(lambda: server.started)
            yield Rig(f"http://127.0.0.1:{listener.getsockname()[1]}", sessions, registry, service)
        finally:
            await registry.close()
            server.should_exit = True
            await serving
            listener.close()
