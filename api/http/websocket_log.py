"""ASGI middleware for every WebSocket: log line, counter, request id, and an answer for every refused handshake."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.websockets import WebSocketDisconnect
from uvicorn.protocols.utils import ClientDisconnected

from api.http.error_responses import Problem, note_code, problem_of, request_error_response
from api.http.middleware import note_answer, request_id_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from api.http.request_counts import RequestCounts

log = structlog.get_logger("api.request")

SWITCHING_PROTOCOLS = 101

_INTERNAL_ERROR = 1011
_ACCEPT, _DENIAL = "websocket.accept", "websocket.http.response.start"


class WebSocketLog:
    """Logs and counts each WebSocket when it ends, under the status of its handshake.

    A route that closes before it accepts, as Starlette does for an unknown path, becomes a 404 with a JSON body.
    """

    def __init__(self, app: ASGIApp, counts: RequestCounts) -> None:
        self._app = app
        self._counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            await self._app(scope, receive, send)
            return
        started_s = time.monotonic()
        handshake = _Handshake(scope, receive, send, request_id_of(scope))
        with structlog.contextvars.bound_contextvars(request_id=handshake.request_id):
            try:
                await self._app(scope, receive, handshake.send)
            except (WebSocketDisconnect, ClientDisconnected):
                log.debug("client disconnected")
            except Exception as error:      # noqa: BLE001 - the outermost frame of a connection
                await handshake.fail(error)
            finally:
                note_answer(self._counts, scope, handshake.status, time.monotonic() - started_s)


class _Handshake:
    """The answer to one handshake. `status` is 0 until it is known."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        self.request_id = request_id
        self.status = 0
        self._scope = scope
        self._receive = receive
        self._send = send

    async def send(self, message: Message) -> None:
        """Sends a message of the application."""
        if message["type"] == "websocket.close" and not self.status:
            await self._deny(problem_of(HTTPException(404)))
            return
        if message["type"] in (_ACCEPT, _DENIAL):
            self.status = message.get("status", SWITCHING_PROTOCOLS)
            message["headers"] = list(message.get("headers", ()))
            MutableHeaders(raw=message["headers"])["X-Request-Id"] = self.request_id
        await self._send(message)

    async def fail(self, error: Exception) -> None:
        """Logs an unexpected exception; answers with 500, or closes with 1011 after the handshake."""
        problem = problem_of(error)
        try:
            if self.status == SWITCHING_PROTOCOLS:
                note_code(self._scope, problem.code)
                await self._send({"type": "websocket.close", "code": _INTERNAL_ERROR})
            elif not self.status:
                await self._deny(problem)
        except (RuntimeError, ClientDisconnected):
            log.debug("client disconnected before the close")

    async def _deny(self, problem: Problem) -> None:
        """Sends a denial response, which Starlette makes of any response in this scope."""
        await request_error_response(self._scope, problem)(self._scope, self._receive, self.send)
