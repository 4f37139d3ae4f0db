"""What every HTTP request passes before a route sees it: log and catch-all, host and origin, size of the body.

Plain ASGI, so that nothing is buffered on the way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from ipaddress import ip_address

import structlog
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import ApiError, OriginRefused, UploadRefused
from api.http.error_responses import error_response, problem_of

log = structlog.get_logger("api.request")

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_DEFAULT_PORTS = {"http": "80", "https": "443", "ws": "80", "wss": "443"}


class RequestLog:
    """Outermost: one log line per request, and a shape for what nobody expected.

    Logs method, route, status and time; never an address, a query, a header or a body.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_s = time.monotonic()
        status = 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:      # noqa: BLE001 - the outermost frame of a request
            problem = problem_of(error)
            if status == 0:
                await error_response(problem, accept=_accept_of(scope))(scope, receive, watched)
        finally:
            took_ms = round((time.monotonic() - started_s) * 1000, 1)
            log.info("request", method=scope["method"], route=route_of(scope), status=status, took_ms=took_ms)


class HostAndOriginCheck:
    """Refuses browser pages of other origins and, where only this machine may call, other host names.

    Without keys, a page that a user of this machine visits could otherwise reach the service: directly with a form
    post, or by giving its own name our address.
    """

    def __init__(self, app: ASGIApp, allowed_origins: Iterable[str], local_only: bool) -> None:
        self._app = app
        self._allowed = frozenset(allowed_origins)
        self._local_only = local_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                self._check(scope)
            except OriginRefused as error:
                await error_response(problem_of(error), accept=_accept_of(scope))(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        if self._local_only:
            require_local_host(headers.get("host"))
        if scope["method"] not in _SAFE_METHODS:
            require_origin(headers, scope["scheme"], self._allowed)


def require_local_host(host: str | None) -> None:
    """Raises OriginRefused unless a Host header names this machine."""
    name = (host or "").rpartition(":")[0] if _has_port(host or "") else host or ""
    name = name.strip("[]").lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return
    try:
        local = ip_address(name).is_loopback
    except ValueError:
        local = False
    if not local:
        raise OriginRefused("host_refused", "without keys, this service answers to localhost only")


def require_origin(headers: Headers, scheme: str, allowed: frozenset[str]) -> None:
    """Raises OriginRefused if a browser says that a page of another origin is calling. Other clients say nothing."""
    origin = headers.get("origin")
    if origin is None or origin.lower() in allowed:
        return
    wanted_scheme, _, authority = origin.lower().partition("://")
    host = (headers.get("host") or "").lower()
    # Behind a proxy that ends TLS the schemes differ, and neither side names a port.
    same = authority == host or _with_port(authority, wanted_scheme) == _with_port(host, scheme)
    if not same or wanted_scheme not in ("http", "https"):
        raise OriginRefused("origin_refused", "pages of this origin may not call; see CORS_ORIGINS, DEEPGUARD_ORIGINS")


class BodyLimit:
    """Refuses bodies that are larger than `limit_of(path)` bytes, by their Content-Length or as they arrive."""

    def __init__(self, app: ASGIApp, limit_of: Callable[[str], int]) -> None:
        self._app = app
        self._limit_of = limit_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit_bytes = self._limit_of(scope["path"])
        seen_bytes = 0
        started = False

        async def counted() -> Message:
            nonlocal seen_bytes
            message = await receive()
            seen_bytes += len(message.get("body", b""))
            if seen_bytes > limit_bytes:
                raise too_large(limit_bytes)
            return message

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            if _declared_bytes(scope) > limit_bytes:
                raise too_large(limit_bytes)
            await self._app(scope, counted, watched)
        except ApiError as error:
            if started:
                raise
            await error_response(problem_of(error), accept=_accept_of(scope))(scope, receive, send)


def _accept_of(scope: Scope) -> str:
    return Headers(scope=scope).get("accept", "")


def too_large(limit_bytes: int) -> UploadRefused:
    return UploadRefused(413, "too_large", f"at most {limit_bytes} bytes are accepted")


def route_of(scope: Scope) -> str:
    """The path with its parameters unnamed, such as `/v1/streams/{stream_id}`; "unmatched" if no route took it."""
    route = scope.get("route")
    return str(getattr(route, "path", "unmatched"))


def _has_port(host: str) -> bool:
    return host.rpartition(":")[2].isdigit() and (host.startswith("[") or host.count(":") == 1)


def _with_port(authority: str, scheme: str) -> str:
    return authority if _has_port(authority) else f"{authority}:{_DEFAULT_PORTS.get(scheme, '')}"


def _declared_bytes(scope: Scope) -> int:
    declared = Headers(scope=scope).get("content-length", "0")
    return int(declared) if declared.isascii() and declared.isdigit() else 0
