"""Error responses: `{"error": {"code": ..., "message": ...}}`, never a traceback.

Clients that accept `application/problem+json` get RFC 9457 problem details with the same code and message.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from http import HTTPStatus
from typing import NamedTuple

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Scope

from api.errors import ApiError
from stream.errors import (
    MediaRefused,
    ServiceDraining,
    ServiceFull,
    StreamError,
    StreamExists,
    StreamUnknown,
    WorkerLost,
)

log = structlog.get_logger(__name__)

# Key of the request's state.
ERROR_CODE = "error_code"

PROBLEM_TYPE = "application/problem+json"
_DRAIN_RETRY_S = 10
_WORKER_RETRY_S = 2
_STREAM_CODES: dict[type[StreamError], tuple[int, str]] = {
    StreamUnknown: (404, "stream_unknown"),
    StreamExists: (409, "stream_exists"),
}


class Problem(NamedTuple):
    """An HTTP error response before it is encoded."""

    status: int
    code: str
    message: str
    retry_after_s: int | None = None

    @property
    def body(self) -> dict[str, object]:
        return {"error": {"code": self.code, "message": self.message}}

    @property
    def details(self) -> dict[str, object]:
        """The problem details of RFC 9457; `code` is an extension member."""
        title = HTTPStatus(self.status).phrase
        return {"type": "about:blank", "title": title, "status": self.status, "detail": self.message, "code": self.code}

    @property
    def headers(self) -> dict[str, str]:
        headers = {"Cache-Control": "no-store"}
        if self.retry_after_s is not None:
            headers["Retry-After"] = str(self.retry_after_s)
        if self.status == HTTPStatus.UNAUTHORIZED:
            headers["WWW-Authenticate"] = 'Bearer realm="deepguard"'
        return headers


def problem_of(error: Exception) -> Problem:
    """Maps an exception to its response.

    An unexpected exception is a bug: it is logged under an id, and the client gets only that id.
    """
    match error:
        case ApiError():
            return Problem(error.status, error.code, error.message, error.retry_after_s)
        case StreamError():
            return _of_stream(error)
        case HTTPException():
            return _of_http(error)
        case RequestValidationError():
            return Problem(422, "invalid_request", _first_validation_error(error))
        case ClientDisconnect():
            return Problem(400, "client_gone", "the connection was closed before the request was complete")
    error_id = secrets.token_hex(8)
    log.error("unexpected error", error_id=error_id, exc_info=error)
    return Problem(500, "internal_error", f"internal error; the service logged it as {error_id}")


def error_response(problem: Problem, extra_headers: Mapping[str, str] | None = None, accept: str = "") -> JSONResponse:
    """Encodes a problem. `accept` is the request's Accept header."""
    headers = {**problem.headers, **(extra_headers or {}), "Vary": "Accept"}
    if PROBLEM_TYPE in accept.lower():
        return JSONResponse(problem.details, problem.status, headers=headers, media_type=PROBLEM_TYPE)
    return JSONResponse(problem.body, problem.status, headers=headers)


def request_error_response(
    scope: Scope, problem: Problem, extra_headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Encodes a problem as the client wants it, and notes its code for the log and the metrics."""
    note_code(scope, problem.code)
    return error_response(problem, extra_headers, Headers(scope=scope).get("accept", ""))


def note_code(scope: Scope, code: str) -> None:
    """Notes the error code of a request or connection, for the log and the metrics."""
    scope.setdefault("state", {})[ERROR_CODE] = code


def install_error_handlers(app: FastAPI) -> None:
    """Registers handlers for the expected exceptions; `middleware.RequestLog` catches all others."""

    async def answer(request: Request, error: Exception) -> Response:
        extra = error.headers if isinstance(error, HTTPException) else None
        return request_error_response(request.scope, problem_of(error), extra)

    for kind in (ApiError, StreamError, HTTPException, RequestValidationError, ClientDisconnect):
        app.add_exception_handler(kind, answer)


def _of_stream(error: StreamError) -> Problem:
    match error:
        case MediaRefused():
            return Problem(error.status, error.code, error.message)
        case ServiceFull():
            return Problem(503, "service_full", str(error), error.retry_after_s)
        case ServiceDraining():
            return Problem(503, "draining", "the service is shutting down", _DRAIN_RETRY_S)
        case WorkerLost():
            return Problem(503, "worker_lost", "the worker process of this request died; try again", _WORKER_RETRY_S)
    status, code = _STREAM_CODES.get(type(error), (422, "undecodable"))
    return Problem(status, code, str(error) or "the media cannot be decoded")


def _of_http(error: HTTPException) -> Problem:
    known = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}
    code = known.get(error.status_code, HTTPStatus(error.status_code).phrase.lower().replace(" ", "_"))
    return Problem(error.status_code, code, str(error.detail))


def _first_validation_error(error: RequestValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}"
