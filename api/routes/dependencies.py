"""FastAPI dependencies that routes share: authentication and rate limits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from api.errors import Unauthorized
from api.http.auth import Caller, address_of, bearer_of
from api.http.middleware import note_key
from api.http.rate_limit import RequestKind
from api.routes.context import context_of


def caller_of(connection: HTTPConnection, token: str | None) -> Caller:
    """Authenticates a token. Raises Unauthorized if API keys are set and the token is none of them."""
    ring = context_of(connection).auth
    if not ring.required:
        return Caller(address_of(connection), "")
    name = ring.identify(token) if token else None
    if name is None:
        raise unauthorized()
    note_key(connection.scope, name)
    return Caller(name, name)


def unauthorized() -> Unauthorized:
    return Unauthorized("unauthorized", "a valid API key is needed; send the header `Authorization: Bearer KEY`")


async def require_key(connection: HTTPConnection) -> Caller:
    """Authenticates the request; a dependency of every protected route. Raises Unauthorized."""
    return caller_of(connection, bearer_of(connection.headers.get("authorization")))


def limit(kind: RequestKind) -> Callable[..., Awaitable[Caller]]:
    """Returns a dependency that authenticates and rate-limits. It raises Unauthorized, RateLimited."""

    async def counted(connection: HTTPConnection, caller: Annotated[Caller, Depends(require_key)]) -> Caller:
        context_of(connection).limiter.check(kind, caller)
        return caller

    return counted
