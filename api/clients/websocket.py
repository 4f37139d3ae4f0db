"""WebSocket event client: the events of a running service, with automatic reconnects.

    async for message in watch("http://127.0.0.1:5000", WatchOptions(key="…")):
        match message:
            case Snapshot(events):  ...        # the current state; replaces all earlier events
            case NewEvent(event): ...
            case Disconnected(message, retry_in_s): ...

Protocol: `docs/contracts/websocket.md`. After a disconnect the client reconnects and requests the missed events.
If the service no longer has them, it sends a `Snapshot`.
"""

from __future__ import annotations

import asyncio
import base64
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
from stream.retry_policy import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from websockets.asyncio.client import ClientConnection

    from stream.events import Event

PROTOCOL = "deepguard.v1"

RECONNECT_POLICY = RetryPolicy.exponential(0.25, 7.5, jitter=1.0)
_HELLO_TIMEOUT_S = 8.0
_HEARTBEAT_MARGIN_S = 5.0
_MAX_MESSAGE_BYTES = 64 * 2**20     # a snapshot of a thousand streams
_FINAL_CODES = (4400, 4401)


class FeedPosition(NamedTuple):
    """A position in the event feed. Pass it as `WatchOptions.resume` to continue after it."""

    feed: str
    offset: int


class Snapshot(NamedTuple):
    """The state at `place`: the start and the latest verdict of every running stream. Replaces all earlier events."""

    events: tuple[Event, ...]
    place: FeedPosition


class NewEvent(NamedTuple):
    """The next event after the last `place`."""

    event: Event
    place: FeedPosition


class Disconnected(NamedTuple):
    """The connection was lost; the client reconnects in `retry_in_s` seconds."""

    message: str
    retry_in_s: float


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """What to subscribe to: one stream or "*" for all, optionally one call, optionally verdicts with some labels.

    A label filter also passes the verdict right after a matching one. `key` is an API key. `resume` continues from a
    position of an earlier subscription.
    """

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
    """Yields events until closed, over any number of connections.

    Raises WatchRefused for permanent errors: a wrong key, an invalid subscription, or no DeepGuard at this URL.
    """
    client = _EventsClient(_websocket_url(url), options or WatchOptions())
    while True:
        try:
            async with aclosing(client.connected()) as received:
                async for news in received:
                    yield news
        except InvalidStatus as error:
            client.check_status(error)
            message = str(error)
        except (OSError, InvalidHandshake, WebSocketException, TimeoutError, msgspec.DecodeError) as error:
            message = str(error) or type(error).__name__
        retry_in_s = client.wait_s()
        yield Disconnected(message, retry_in_s)
        await asyncio.sleep(retry_in_s)


class _EventsClient:
    """State that outlives a connection: the feed position and the number of consecutive failures."""

    def __init__(self, url: str, options: WatchOptions) -> None:
        self._url = url
        self._options = options
        self._place = options.resume
        self._feed = ""
        self._failed = 0
        self._receive_timeout_s = _HELLO_TIMEOUT_S

    async def connected(self) -> AsyncGenerator[Snapshot | NewEvent, None]:
        """Yields the messages of one connection. Raises the error that ended it."""
        self._receive_timeout_s = _HELLO_TIMEOUT_S
        async with connect(
            self._url, subprotocols=_subprotocols(self._options.key), compression=None, max_size=_MAX_MESSAGE_BYTES,
            proxy=None,
        ) as connection:
            while True:
                message = await self._take(connection)
                if message is not None:
                    yield message

    def wait_s(self) -> float:
        self._failed += 1
        return RECONNECT_POLICY.delay_s(self._failed)

    def check_status(self, error: InvalidStatus) -> None:
        """Raises WatchRefused unless the status is 5xx, which is temporary."""
        if error.response.status_code < 500:
            raise WatchRefused(f"{self._url} answered HTTP {error.response.status_code}") from error

    async def _take(self, connection: ClientConnection) -> Snapshot | NewEvent | None:
        """Receives one message. Two missed heartbeats count as a lost connection, even if TCP reports none."""
        try:
            async with asyncio.timeout(self._receive_timeout_s):
                message = _decoder.decode(await connection.recv(decode=False))
        except TimeoutError:
            raise TimeoutError("no message or heartbeat from the service in time") from None
        except ConnectionClosed as closed:
            self._check_close(closed)
            raise
        match message:
            case _Hello(heartbeat_s):
                self._receive_timeout_s = 2 * heartbeat_s + _HEARTBEAT_MARGIN_S
                await connection.send(self._subscribe_message())
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

    def _subscribe_message(self) -> str:
        options, place = self._options, self._place
        request: dict[str, object] = {"type": "subscribe", "stream": options.stream}
        if options.call is not None:
            request["call"] = options.call
        if options.labels is not None:
            request["labels"] = sorted(options.labels)
        if place is not None:
            request |= {"feed": place.feed, "offset": place.offset}
        return msgspec.json.encode(request).decode()

    @staticmethod
    def _check_close(closed: ConnectionClosed) -> None:
        if closed.rcvd is not None and closed.rcvd.code in _FINAL_CODES:
            raise WatchRefused(f"closed by the service: {closed.rcvd.reason or closed.rcvd.code}") from closed


def _websocket_url(url: str) -> str:
    """Returns the WebSocket URL of a service. Raises WatchRefused."""
    parts = urlsplit(url)
    scheme = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}.get(parts.scheme)
    if scheme is None or not parts.netloc:
        raise WatchRefused(f"{url} is not the URL of a service: expected http(s)://HOST[:PORT]")
    path = parts.path.rstrip("/")
    return urlunsplit((scheme, parts.netloc, path if path.endswith("/ws") else f"{path}/ws", "", ""))


def _subprotocols(key: str) -> list[Subprotocol]:
    token = base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")
    return [Subprotocol(name) for name in (PROTOCOL, f"bearer.{token}" if key else "") if name]
