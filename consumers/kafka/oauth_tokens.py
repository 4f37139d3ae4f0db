"""OAuth tokens for the login OAUTHBEARER: from a token endpoint, from a file, or from the operator's own function."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import AuthenticationFailedError, KafkaConnectionError

from consumers.errors import BrokerRefused

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from consumers.kafka.config import OauthConfig

TIMEOUT_S = 10.0
# A token is replaced after this share of its lifetime, so that none expires on its way.
RENEW_AFTER = 0.8
# RFC 6749 lets an endpoint leave out the lifetime. It is short then, because a refused token costs a reconnect.
DEFAULT_LIFETIME_S = 60.0


class Token(NamedTuple):
    """A token and the Unix time in seconds from which it is replaced."""

    text: str
    renew_s: float


@lru_cache(maxsize=8)
def token_provider(config: OauthConfig) -> TokenProvider:
    """Returns the provider that all clients of one configuration share. Raises BrokerRefused for a wrong `provider`."""
    if config.provider:
        return TokenProvider(_called(_function(config.provider)))
    if config.token_file is not None:
        path = config.token_file
        return TokenProvider(lambda: _read(path))
    return TokenProvider(lambda: _requested(config))


class TokenProvider(AbstractTokenProvider):  # type: ignore[misc]
    """aiokafka's token provider. Asks `source` for a token and keeps it until most of its lifetime is over."""

    def __init__(self, source: Callable[[], Any]) -> None:
        self._source = source
        self._kept = Token("", 0.0)

    async def token(self) -> str:
        """Returns a valid token. Raises aiokafka's errors, since aiokafka calls it while it connects."""
        if time.time() >= self._kept.renew_s:
            self._kept = await self._source()
        return self._kept.text


async def _read(path: Path) -> Token:
    try:
        text = (await asyncio.to_thread(path.read_text, "utf-8")).strip()
    except (OSError, UnicodeError) as error:
        raise KafkaConnectionError(f"the token file {path.name} cannot be read: {type(error).__name__}") from error
    return Token(_checked(text), 0.0)


async def _requested(config: OauthConfig) -> Token:
    """Requests a token by client credentials, the client's login in the Authorization header."""
    form = {"grant_type": "client_credentials", **({"scope": config.scope} if config.scope else {})}
    now_s = time.time()
    try:
        async with httpx.AsyncClient(timeout=TIMEOUT_S) as client:
            answer = await client.post(config.token_url, data=form, auth=(config.client_id, config.client_secret))
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        raise KafkaConnectionError(f"the token endpoint does not answer: {type(error).__name__}") from error
    if answer.status_code in (400, 401, 403):
        raise AuthenticationFailedError(f"the token endpoint refuses the client: {answer.status_code}")
    try:
        found = answer.raise_for_status().json()
        text, lifetime_s = str(found["access_token"]), float(found.get("expires_in", DEFAULT_LIFETIME_S))
    except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise KafkaConnectionError(f"the token endpoint returned no token: {answer.status_code}") from error
    return Token(_checked(text), now_s + RENEW_AFTER * lifetime_s)


def _called(function: Callable[[], Any]) -> Callable[[], Any]:
    async def call() -> Token:
        now_s = time.time()
        try:
            found = await (function() if inspect.iscoroutinefunction(function) else asyncio.to_thread(function))
            text, expiry_ms = found if isinstance(found, tuple) else (found, now_s * 1000)
            return Token(_checked(text), now_s + RENEW_AFTER * (float(expiry_ms) / 1000 - now_s))
        except KafkaConnectionError:
            raise
        except Exception as error:      # the operator's function may raise anything
            raise KafkaConnectionError(f"the token provider failed: {type(error).__name__}") from error

    return call


def _function(name: str) -> Callable[[], Any]:
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:          # importing runs the operator's code
        raise BrokerRefused(
            f"the token provider {name!r} cannot be imported: {type(error).__name__}: {error}; "
            "write module:function, and put the module on PYTHONPATH"
        ) from error
    if not callable(found):
        raise BrokerRefused(f"the token provider {name!r} is not a function")
    function: Callable[[], Any] = found
    return function


def _checked(text: Any) -> str:
    """Returns a token that fits the login message. Raises KafkaConnectionError for an empty or a broken one."""
    if not isinstance(text, str) or not text or not text.isascii() or not text.isprintable() or " " in text:
        raise KafkaConnectionError("the token is empty or holds characters that no token has")
    return text
