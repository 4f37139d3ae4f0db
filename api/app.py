"""FastAPI application: its routes, and the components that live as long as it does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import structlog
from fastapi import APIRouter, FastAPI, Response
from fastapi.responses import FileResponse
from fastapi_offline import FastAPIOffline
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.staticfiles import StaticFiles

from api.errors import SettingsRefused
from api.http.auth import KeyRing
from api.http.error_responses import install_error_handlers
from api.http.head_requests import HeadRequests
from api.http.loop_lag import LoopLagMonitor
from api.http.middleware import BodyLimit, HostAndOriginCheck, RequestLog
from api.http.rate_limit import RateLimiter
from api.http.request_counts import RequestCounts
from api.http.websocket_log import WebSocketLog
from api.incidents.lifecycle import incident_config, recorded_alarms, running_incidents
from api.ingest.aiortc_patches import Network
from api.ingest.pull.dialer import Dialer
from api.ingest.pull.pulled_sources import PullConfig, PulledSources
from api.ingest.pull.puller import PullTimeouts
from api.ingest.pull.url_policy import PullPolicy
from api.ingest.registry import SourceRegistry
from api.ingest.rtp_receivers import RtpConfig, RtpReceivers
from api.ingest.whip.config import WhipConfig
from api.ingest.whip.ice_servers import IceServers
from api.ingest.whip.sessions import WhipSessions
from api.routes import (
    alarm_policy,
    events_sse,
    events_websocket,
    files,
    jobs,
    kept_data,
    metrics,
    probes,
    start_stream,
    streams,
    timeline,
    webhooks,
    whip,
)
from api.routes import incidents as incident_routes
from api.routes.context import AppContext
from api.routes.json_answers import describe_answers
from api.routes.legacy_answers import APP_NAME
from api.settings.base import Settings
from api.settings.factories import files_at_once, running_service
from api.uploads.file_jobs import FileJobs
from api.uploads.job_table import JobTable
from api.uploads.spool import FORM_OVERHEAD_BYTES, Spool
from api.uploads.verdict_cache import VerdictCache
from api.verdict_gateway import running_gateway
from api.version import VERSION
from stream.event_bus import EventBus
from stream.stream_service import StreamService

log = structlog.get_logger(__name__)

DASHBOARD = Path(__file__).resolve().parent / "dashboard"
UPLOAD_PATHS = frozenset({"/predict", "/gradcam"})
OTHER_BODY_BYTES = 128 * 1024

_PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; connect-src 'self' ws: wss:; "
        "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(self), microphone=()",
    "Cache-Control": "no-cache",
}

page = APIRouter(include_in_schema=False)


def create_app(settings: Settings, context: AppContext | None = None) -> FastAPI:
    """Returns the application. Without `context`, it starts its own service for its lifespan."""

    request_counts = context.request_counts if context is not None else RequestCounts()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        bus = EventBus()
        async with (
            running_service(settings, bus) as service,
            running_context(settings, bus, service, request_counts) as own,
        ):
            app.state.context = own
            yield

    app = FastAPIOffline(
        title=APP_NAME, version=VERSION, lifespan=lifespan, middleware=_middleware(settings, request_counts),
        redoc_url=None, redirect_slashes=False,     # a redirect would trust the Host header
        description="Detects manipulated faces: rolling verdicts on live calls, and verdicts on uploaded files.",
    )
    app.state.context = context
    app.state.request_counts = request_counts
    install_error_handlers(app)
    for module in (
        files, jobs, start_stream, streams, timeline, events_sse, alarm_policy, whip, probes, events_websocket, metrics,
        incident_routes,
        kept_data,
        webhooks,
    ):
        app.include_router(module.router)
    app.include_router(page)
    describe_answers(app)
    app.mount("/static", _RevalidatedFiles(directory=DASHBOARD / "static"), name="static")
    return app


class _RevalidatedFiles(StaticFiles):
    """Static files that browsers revalidate on each load, so that an upgrade never mixes modules of two versions."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


@page.get("/")
async def dashboard() -> Response:
    """Returns the dashboard page."""
    return FileResponse(DASHBOARD / "index.html", headers=_PAGE_HEADERS)


@asynccontextmanager
async def running_context(
    settings: Settings, bus: EventBus, service: StreamService, request_counts: RequestCounts | None = None
) -> AsyncIterator[AppContext]:
    """Starts the components around a stream service in order, and closes them in reverse order.

    `request_counts` are those that the application's middleware fills.
    """
    async with AsyncExitStack() as stack:
        spool = Spool(settings.spool_dir, settings.max_uploads, settings.max_file_size_bytes)
        try:
            spool.open()
        except OSError as error:
            folder = settings.spool_dir or "the system's temporary folder"
            raise SettingsRefused(
                f"DEEPGUARD_SPOOL_DIR: cannot write to {folder} ({error.strerror}); name a writable folder"
            ) from None
        stack.callback(spool.close)
        sources = SourceRegistry(service)
        stack.push_async_callback(sources.close)
        incidents = await stack.enter_async_context(running_incidents(incident_config(settings), bus))
        await stack.enter_async_context(recorded_alarms(service, incidents.publisher, bus))
        file_jobs = FileJobs(service, VerdictCache(), files_at_once(settings))
        job_table = JobTable()
        stack.push_async_callback(file_jobs.drain, 0)
        stack.push_async_callback(job_table.close)
        gateway = await stack.enter_async_context(running_gateway(settings, bus))
        loop_lag = LoopLagMonitor()
        loop_lag.start()
        stack.push_async_callback(loop_lag.close)
        yield AppContext(
            settings=settings,
            service=service,
            bus=bus,
            sources=sources,
            whip_sessions=WhipSessions(whip_config(settings), sources),
            rtp_receivers=RtpReceivers(rtp_config(settings), sources),
            pulled_sources=PulledSources(pull_config(settings), sources),
            auth=KeyRing(key.get_secret_value() for key in settings.api_keys),
            request_counts=request_counts or RequestCounts(),
            limiter=RateLimiter(settings.upload_rate_per_min, settings.offer_rate_per_min),
            spool=spool,
            file_jobs=file_jobs,
            jobs=job_table,
            loop_lag=loop_lag,
            incidents=incidents,
            gateway=gateway,
        )


def whip_config(settings: Settings) -> WhipConfig:
    """Returns the WHIP configuration of these settings."""
    return WhipConfig(
        max_sessions=settings.max_streams,
        max_sessions_per_caller=settings.max_streams_per_key or None,
        loopback=settings.is_loopback or ip_address(settings.host).is_unspecified,
        udp_ports=settings.udp_ports,
        public_addresses=settings.public_addresses,
        remote_candidates=settings.remote_candidates,
        local=settings.is_loopback,
        ice_servers=ice_servers(settings),
        overflow_url=settings.overflow_url,
    )


def rtp_config(settings: Settings) -> RtpConfig:
    """Returns the RTP receiver configuration of these settings."""
    host = "127.0.0.1" if settings.host == "localhost" else settings.host
    return RtpConfig(
        host, settings.is_loopback, settings.udp_ports, settings.max_streams,
        max_sources_per_caller=settings.max_streams_per_key or None,
    )


def pull_config(settings: Settings) -> PullConfig:
    """Returns the pull configuration of these settings."""
    networks = tuple(ip_network(network) for network in settings.pull_networks)
    policy = PullPolicy(frozenset(settings.pull_schemes), settings.pull_hosts, networks)
    loopback = any(network.is_loopback for network in networks)
    return PullConfig(
        settings.max_streams, Dialer(policy), PullTimeouts(retry_s=settings.pull_retry_s),
        Network(loopback, settings.udp_ports), settings.max_streams_per_key or None,
    )


def ice_servers(settings: Settings) -> IceServers:
    """Returns the STUN and TURN servers that publishers are given."""
    return IceServers(
        settings.stun, settings.turn, settings.turn_user,
        settings.turn_password.get_secret_value() if settings.turn_password else "",
        settings.turn_secret.get_secret_value() if settings.turn_secret else "",
    )


def _middleware(settings: Settings, request_counts: RequestCounts) -> list[Middleware]:
    """Returns the middleware, outermost first."""
    allowed = (*settings.cors_origins, *settings.origins)
    upload_bytes = settings.max_file_size_bytes + FORM_OVERHEAD_BYTES

    def limit_of(path: str) -> int:
        return upload_bytes if path in UPLOAD_PATHS else OTHER_BODY_BYTES

    cors = Middleware(
        CORSMiddleware,
        allow_origins=settings.cors_origins,
        allow_methods=["GET", "POST", "PATCH", "DELETE", "OPTIONS"],
        allow_headers=[
            "Authorization", "Content-Type", "If-Match", "If-None-Match", "X-Request-Id", *whip.LABEL_HEADERS,
        ],
        expose_headers=[
            "Accept-Patch", "Accept-Post", "ETag", "Link", "Location", "Retry-After", "X-Cache", "X-Request-Id",
        ],
    )
    return [
        Middleware(RequestLog, counts=request_counts),
        Middleware(WebSocketLog, counts=request_counts),
        *([cors] if settings.cors_origins else []),
        Middleware(HostAndOriginCheck, allowed_origins=allowed, local_only=settings.is_local_only),
        Middleware(BodyLimit, limit_of=limit_of),
        Middleware(HeadRequests),
    ]
