"""ASGI middleware for every HTTP request: access log and catch-all, host and origin check, body limit.

Plain ASGI, because Starlette's BaseHTTPMiddleware buffers bodies.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterable
from ipaddress import ip_address

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import ApiError, OriginRefused, UploadRefused
from api.http.error_responses import ERROR_CODE, problem_of, request_error_response
from api.http.request_counts import UNMATCHED, RequestCounts
from api.http.security_headers import add_security_headers

log = structlog.get_logger("api.request")

_KEY = "key"                    # key of the request's state
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_DEFAULT_PORTS = {"http": "80", "https": "443", "ws": "80", "wss": "443"}


class RequestLog:
    """Outermost middleware: logs and counts each request, and turns unexpected exceptions into a 500 response.

    Logs request id, method, route, status, duration, and of a refused request the error code and the name of the API
    key; never an address, a query, a body, or a header but X-Request-Id.
    """

    def __init__(self, app: ASGIApp, counts: RequestCounts) -> None:
        self._app = app
        self._counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_s = time.monotonic()
        status = 0
        request_id = request_id_of(scope)

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                add_security_headers(headers, scope["path"])
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, watched)
            except Exception as error:      # noqa: BLE001 - the outermost frame of a request
                problem = problem_of(error)
                if status == 0:
                    await request_error_response(scope, problem)(scope, receive, watched)
            finally:
                note_answer(self._counts, scope, status, time.monotonic() - started_s)


def note_answer(counts: RequestCounts, scope: Scope, status: int, took_s: float) -> None:
    """Counts and logs one answer; `status` 0 means that the connection was closed without one."""
    state = scope.get("state", {})
    method, route, code = scope.get("method", "GET"), route_of(scope), str(state.get(ERROR_CODE, ""))
    counts.add(method, route, status, code)
    refused = {"code": code, "key": str(state.get(_KEY, ""))} if code else {}
    log.info("request", method=method, route=route, status=status, took_ms=round(took_s * 1000, 1), **refused)


def request_id_of(scope: Scope) -> str:
    """Returns the client's X-Request-Id if it is well-formed, else a new one."""
    given = Headers(scope=scope).get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)


def note_key(scope: Scope, name: str) -> None:
    """Notes the name of the request's API key, which is safe to log."""
    scope.setdefault("state", {})[_KEY] = name


class HostAndOriginCheck:
    """Refuses browser pages of other origins and, on a loopback service without keys, foreign host names.

    Otherwise a page in a local browser could reach a service without keys: by a cross-origin form post, or by DNS
    rebinding.
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
                await request_error_response(scope, problem_of(error))(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        if self._local_only:
            require_local_host(headers.get("host"))
        if scope["method"] not in _SAFE_METHODS:
            require_origin(headers, scope["scheme"], self._allowed)


def require_local_host(host: str | None) -> None:
    """Raises OriginRefused unless the Host header is localhost or a loopback address."""
    name = (host or "").rpartition(":")[0] if _has_port(host or "") else host or ""
    name = name.strip("[]").lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return
    try:
        local = ip_address(name).is_loopback
    except ValueError:
        local = False
    if not local:
        message = "a service without API keys accepts the host localhost only; use localhost, or set DEEPGUARD_API_KEYS"
        raise OriginRefused("host_refused", message)


def require_origin(headers: Headers, scheme: str, allowed: frozenset[str]) -> None:
    """Raises OriginRefused if the Origin header names another origin. Clients other than browsers send none."""
    origin = headers.get("origin")
    if origin is None or origin.lower() in allowed:
        return
    origin_scheme, _, authority = origin.lower().partition("://")
    host = (headers.get("host") or "").lower()
    # Behind a proxy that terminates TLS the schemes differ and neither header has a port.
    same = authority == host or _with_port(authority, origin_scheme) == _with_port(host, scheme)
    if not same or origin_scheme not in ("http", "https"):
        message = f"pages of {origin[:200]} may not call this service; see CORS_ORIGINS and DEEPGUARD_ORIGINS"
        raise OriginRefused("origin_refused", message)


class BodyLimit:
    """Refuses bodies larger than `limit_of(path)` bytes, by Content-Length or as they arrive."""

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
            await request_error_response(scope, problem_of(error))(scope, receive, send)


def too_large(limit_bytes: int) -> UploadRefused:
    return UploadRefused(413, "too_large", f"the body is larger than the limit of {limit_bytes} bytes")


def route_of(scope: Scope) -> str:
    """Returns the route template, such as `/v1/streams/{stream_id}`, or "unmatched"."""
    route = scope.get("route")
    return str(getattr(route, "path", UNMATCHED))


def _has_port(host: str) -> bool:
    return host.rpartition(":")[2].isdigit() and (host.startswith("[") or host.count(":") == 1)


def _with_port(authority: str, scheme: str) -> str:
    return authority if _has_port(authority) else f"{authority}:{_DEFAULT_PORTS.get(scheme, '')}"


def _declared_bytes(scope: Scope) -> int:
    declared = Headers(scope=scope).get("content-length", "0")
    return int(declared) if declared.isascii() and declared.isdigit() else 0
