"""OAuth tokens: their sources, against a real token endpoint on loopback."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import pytest
from aiokafka.errors import AuthenticationFailedError, KafkaConnectionError

from consumers.errors import BrokerRefused
from consumers.kafka.config import OauthConfig
from consumers.kafka.oauth_tokens import token_provider

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

TOKENS = "tests.kafka.unsigned_token"


@dataclass
class Endpoint:
    """A token endpoint. `answer` is status and body of its answers; `requests` are head and form of each request."""

    url: str = ""
    answer: tuple[int, str] = (200, "{}")
    requests: list[tuple[str, dict[str, list[str]]]] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = int(head.lower().partition("content-length:")[2].split()[0])
        self.requests.append((head, parse_qs((await reader.readexactly(length)).decode())))
        status, body = self.answer
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode())
        await writer.drain()
        writer.close()


@asynccontextmanager
async def endpoint() -> AsyncIterator[Endpoint]:
    found = Endpoint()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/token"
    async with server:
        yield found


def by_url(url: str) -> OauthConfig:
    return OauthConfig(token_url=url, client_id="me", client_secret="not-a-secret", scope="kafka")


def granted(token: str, **more: object) -> tuple[int, str]:
    return 200, json.dumps({"access_token": token, "token_type": "Bearer", **more})


async def test_an_endpoint_is_asked_once_while_its_token_is_fresh() -> None:
    async with endpoint() as server:
        server.answer = granted("first", expires_in=300)
        provider = token_provider(by_url(server.url))
        assert [await provider.token(), await provider.token()] == ["first", "first"]
    [(head, form)] = server.requests
    assert form == {"grant_type": ["client_credentials"], "scope": ["kafka"]}
    assert "authorization: basic " in head.lower()
    assert "not-a-secret" not in head


async def test_a_token_is_renewed_before_it_expires() -> None:
    async with endpoint() as server:
        provider = token_provider(by_url(server.url))
        for text in ("first", "second"):
            server.answer = granted(text, expires_in=0)
            assert await provider.token() == text


@pytest.mark.parametrize("answer", [
    (500, ""), (200, ""), (200, "[]"), (200, "{}"), (302, ""), granted(""), granted("two words"), granted("a\x01b"),
    granted("ok", expires_in="soon"),
])  # fmt: skip
async def test_an_endpoint_without_a_token_is_tried_again(answer: tuple[int, str]) -> None:
    async with endpoint() as server:
        server.answer = answer
        provider = token_provider(by_url(server.url))
        with pytest.raises(KafkaConnectionError, match="token"):
            await provider.token()
        server.answer = granted("later", expires_in=300)
        assert await provider.token() == "later"


@pytest.mark.parametrize("status", [400, 401, 403])
async def test_a_refused_client_is_told(status: int) -> None:
    async with endpoint() as server:
        server.answer = (status, '{"error": "invalid_client"}')
        with pytest.raises(AuthenticationFailedError, match=str(status)):
            await token_provider(by_url(server.url)).token()


async def test_an_endpoint_that_is_away_is_told_without_its_url() -> None:
    async with endpoint() as server:
        pass
    with pytest.raises(KafkaConnectionError, match="does not answer") as caught:
        await token_provider(by_url(server.url)).token()
    assert server.url not in str(caught.value)


async def test_a_token_file_is_read_at_every_login(tmp_path: Path) -> None:
    path = tmp_path / "token"
    provider = token_provider(OauthConfig(token_file=path))
    with pytest.raises(KafkaConnectionError, match="token file"):
        await provider.token()
    for text in ("first", "second"):
        path.write_text(f"{text}\n")
        assert await provider.token() == text


@pytest.mark.parametrize("name", ["valid_token", "expired_token"])
async def test_the_operators_function_may_wait_and_may_tell_the_expiry(name: str) -> None:
    assert (await token_provider(OauthConfig(provider=f"{TOKENS}:{name}")).token()).count(".") == 2


async def test_a_failure_of_the_operators_function_keeps_its_message_out_of_logs() -> None:
    with pytest.raises(KafkaConnectionError, match="RuntimeError") as caught:
        await token_provider(OauthConfig(provider=f"{TOKENS}:failing")).token()
    assert "vault" not in str(caught.value)


@pytest.mark.parametrize("name", ["no_such_module:token", f"{TOKENS}:no_such_name", f"{TOKENS}:LIFETIME_S"])
def test_a_function_that_does_not_exist_is_refused_at_start(name: str) -> None:
    with pytest.raises(BrokerRefused, match="token provider"):
        token_provider(OauthConfig(provider=name))


def test_secrets_are_not_shown() -> None:
    assert "not-a-secret" not in repr(by_url("http://127.0.0.1/token?key=not-a-secret"))
