"""ASGI middleware: HEAD on every route that has GET, with the headers of GET and no body (RFC 9110, 9.3.2)."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_IS_HEAD = "is_head"        # key of the request's state


def is_head(scope: Scope) -> bool:
    """Whether this request came as HEAD; a route without an end must then end its answer itself."""
    return bool(scope.get("state", {}).get(_IS_HEAD))


class HeadRequests:
    """Runs HEAD requests as GET and leaves the body out. Names HEAD beside GET in `Allow`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        head = scope["method"] == "HEAD"

        async def without_body(message: Message) -> None:
            if message["type"] == "http.response.start":
                _allow_head(message)
            elif head:
                message = {**message, "body": b""}
            await send(message)

        if head:
            scope["method"] = "GET"
            scope.setdefault("state", {})[_IS_HEAD] = True
        try:
            await self._app(scope, receive, without_body)
        finally:
            if head:
                scope["method"] = "HEAD"        # for the log and the metrics


def _allow_head(message: Message) -> None:
    headers = MutableHeaders(scope=message)
    allowed = [method.strip() for method in headers.get("allow", "").split(",") if method.strip()]
    if "GET" in allowed and "HEAD" not in allowed:
        headers["Allow"] = ", ".join([*allowed, "HEAD"])
