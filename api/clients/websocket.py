"""A client of the WebSocket: every event of a running service, over as many connections as it takes.

    async for news in watch("http://127.0.0.1:5000", WatchOptions(key="…")):
        match news:
            case Snapshot(events):  ...        # forget everything else: this is how things stand
            case NewEvent(event): ...
            case Disconnected(message, again_s): ...

The protocol is told in `docs/contracts/websocket.md`. After a cut the client comes back by itself and asks for what it
missed. If the service still has that, it goes on as if nothing had been; else it says how things stand in `Snapshot`.
"""

from __future__ import annotations

import asyncio
import base64
import random
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import msgspec
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from api.errors import WatchRefused
from stream import event_encoding
from stream.events import Label

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from websockets.asyncio.client import ClientConnection

    from stream.events import Event

PROTOCOL = "deepguard.v1"

_FIRST_BACKOFF_S, _LONGEST_BACKOFF_S = 0.5, 15.0
_GREETED_WITHIN_S = 8.0
_SPARE_S = 5.0
_MAX_MESSAGE_BYTES = 64 * 2**20     # a snapshot of a thousand streams
_FINAL_CODES = (4400, 4401)


class FeedPosition(NamedTuple):
    """Up to where a watcher knows everything: pass it as `WatchOptions.resume` to go on from there."""

    feed: str
    offset: int


class Snapshot(NamedTuple):
    """How things stand at `place`: per running stream its start and its latest verdict. What was known before may no
    longer hold."""

    events: tuple[Event, ...]
    place: FeedPosition


class NewEvent(NamedTuple):
    """One event, the next one behind the last `place`."""

    event: Event
    place: FeedPosition


class Disconnected(NamedTuple):
    """The connection is gone; the next try is in `again_s` seconds."""

    message: str
    again_s: float


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """What to watch: one stream or "*" for all, of these those of one call, and verdicts with these labels alone (and
    the ones right after). `key` is an API key; `resume` goes on from a place in an earlier watch."""

    key: str = ""
    stream: str = "*"
    call: str | None = None
    labels: frozenset[Label] | None = None
    resume: FeedPosition | None = None


class _Hello(msgspec.Struct, tag_field="type", tag="hello"):
    heartbeat_s: float


class _Subscribed(msgspec.Struct, tag_field="type", tag="subscribed"):
    feed: str


class _Snapshot(msgspec.Struct, tag_field="type", tag="snapshot"):
    offset: int
    events: list[msgspec.Raw]


class _Event(msgspec.Struct, tag_field="type", tag="event"):
    offset: int
    event: msgspec.Raw


class _Ping(msgspec.Struct, tag_field="type", tag="ping"):
    pass


class _Error(msgspec.Struct, tag_field="type", tag="error"):
    code: str
    message: str


_decoder = msgspec.json.Decoder(_Hello | _Subscribed | _Snapshot | _Event | _Ping | _Error)


async def watch(
    url: str, options: WatchOptions | None = None
) -> AsyncGenerator[Snapshot | NewEvent | Disconnected, None]:
    """Ends only when it is closed. Raises WatchRefused where coming back would not help: a wrong key, a wish that is
    not understood, an address that is no DeepGuard."""
    watcher = _EventsClient(_websocket_url(url), options or WatchOptions())
    while True:
        try:
            async with aclosing(watcher.connected()) as received:
                async for news in received:
                    yield news
        except InvalidStatus as error:
            watcher.refused(error)
            message = str(error)
        except (OSError, InvalidHandshake, WebSocketException, TimeoutError, msgspec.DecodeError) as error:
            message = str(error) or type(error).__name__
        again_s = watcher.wait_s()
        yield Disconnected(message, again_s)
        await asyncio.sleep(again_s)


def backoff_s(attempt: int, draw: float) -> float:
    """Between half and all of the exponential step before try number `attempt` (from 0); `draw` in 0..1."""
    step_s: float = min(_LONGEST_BACKOFF_S, _FIRST_BACKOFF_S * 2 ** min(attempt, 10))
    return step_s / 2 + step_s / 2 * draw


class _EventsClient:
    """What outlives a connection: the place, and how often it went wrong in a row."""

    def __init__(self, url: str, options: WatchOptions) -> None:
        self._url = url
        self._options = options
        self._place = options.resume
        self._feed = ""
        self._failed = 0
        self._receive_timeout_s = _GREETED_WITHIN_S

    async def connected(self) -> AsyncGenerator[Snapshot | NewEvent, None]:
        """The news of one connection. Raises what ended it."""
        self._receive_timeout_s = _GREETED_WITHIN_S
        async with connect(
            self._url, subprotocols=_subprotocols(self._options.key), compression=None, max_size=_MAX_MESSAGE_BYTES,
            proxy=None,
        ) as connection:
            while True:
                news = await self._take(connection)
                if news is not None:
                    yield news

    def wait_s(self) -> float:
        self._failed += 1
        return backoff_s(self._failed - 1, random.random())

    def refused(self, error: InvalidStatus) -> None:
        """Raises WatchRefused unless it is only that there is no room now."""
        if error.response.status_code < 500:
            raise WatchRefused(f"{self._url} answered {error.response.status_code}") from error

    async def _take(self, connection: ClientConnection) -> Snapshot | NewEvent | None:
        """One message. A service that says nothing for two heartbeats is gone, whatever TCP believes."""
        try:
            async with asyncio.timeout(self._receive_timeout_s):
                message = _decoder.decode(await connection.recv(decode=False))
        except TimeoutError:
            raise TimeoutError("the service says nothing any more") from None
        except ConnectionClosed as closed:
            self._check_close(closed)
            raise
        match message:
            case _Hello(heartbeat_s):
                self._receive_timeout_s = 2 * heartbeat_s + _SPARE_S
                await connection.send(self._wish())
            case _Subscribed(feed):
                self._failed, self._feed = 0, feed
            case _Snapshot(offset, events):
                return Snapshot(tuple(event_encoding.decode(bytes(event)) for event in events), self._move(offset))
            case _Event(offset, event) if self._place is None or offset > self._place.offset:
                return NewEvent(event_encoding.decode(bytes(event)), self._move(offset))
        return None

    def _move(self, offset: int) -> FeedPosition:
        self._place = FeedPosition(self._feed, offset)
        return self._place

    def _wish(self) -> str:
        options, place = self._options, self._place
        wish: dict[str, object] = {"type": "subscribe", "stream": options.stream}
        if options.call is not None:
            wish["call"] = options.call
        if options.labels is not None:
            wish["labels"] = sorted(options.labels)
        if place is not None:
            wish |= {"feed": place.feed, "offset": place.offset}
        return msgspec.json.encode(wish).decode()

    @staticmethod
    def _check_close(closed: ConnectionClosed) -> None:
        if closed.rcvd is not None and closed.rcvd.code in _FINAL_CODES:
            raise WatchRefused(f"the service hung up: {closed.rcvd.reason or closed.rcvd.code}") from closed


def _websocket_url(url: str) -> str:
    """That of the service's WebSocket. Raises WatchRefused."""
    parts = urlsplit(url)
    scheme = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}.get(parts.scheme)
    if scheme is None or not parts.netloc:
        raise WatchRefused(f"{url} is no URL of a service: expected http(s)://HOST[:PORT]")
    path = parts.path.rstrip("/")
    return urlunsplit((scheme, parts.netloc, path if path.endswith("/ws") else f"{path}/ws", "", ""))


def _subprotocols(key: str) -> list[Subprotocol]:
    token = base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")
    return [Subprotocol(name) for name in (PROTOCOL, f"bearer.{token}" if key else "") if name]
