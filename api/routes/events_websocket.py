"""The WebSocket `/ws`, subprotocol deepguard.v1: verdicts as they are made. Told in `docs/contracts/websocket.md`.

A connection is three tasks: one reads, one beats, one pumps events of the current subscription. None of them is ever
waited for by whoever publishes: events wait in the subscription's bounded queue, and a reader who is too slow for that,
or who does not take a message in time, is hung up on.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, NoReturn

import msgspec
import structlog
from fastapi import APIRouter, WebSocket
from starlette.websockets import WebSocketDisconnect

from api.errors import ApiError, Busy, Unauthorized
from api.http.auth import bearer_of, bearer_of_subprotocols
from api.http.error_responses import error_response, problem_of
from api.http.middleware import require_local_host, require_origin
from api.routes.context import AppContext, context_of
from api.routes.dependencies import caller_of
from stream import event_encoding
from stream.errors import BusClosed, SubscriberTooSlow
from stream.event_bus import QUEUE_EVENTS, Envelope, Selection, Subscription
from stream.events import Label

if TYPE_CHECKING:
    from stream.event_bus import EventBus

log = structlog.get_logger(__name__)

PROTOCOL = "deepguard.v1"
HEARTBEAT_S = 15
MAX_MESSAGE_BYTES = 64 * 1024
SUBSCRIBE_WITHIN_S = 10.0
SEND_WITHIN_S = 5.0
MAX_WATCHERS = 1024
EVERYTHING = "*"

_WISH_EVERY_S = 0.1         # a snapshot costs us more than a wish costs the client

GOING_AWAY, BAD_MESSAGE, UNAUTHORIZED, TOO_SLOW = 1012, 4400, 4401, 4008

router = APIRouter()


class Subscribe(msgspec.Struct, frozen=True, tag_field="type", tag="subscribe"):
    """Wish for one stream, or "*" for all, and of these for those of one call and for verdicts with certain labels;
    `feed` and `offset` are those of the last event that was seen."""

    stream: str
    call: str | None = None
    labels: frozenset[Label] | None = None
    feed: str | None = None
    offset: int | None = None

    @property
    def selection(self) -> Selection:
        streams = None if self.stream == EVERYTHING else frozenset((self.stream,))
        return Selection(streams, None if self.call is None else frozenset((self.call,)), self.labels)


class Pong(msgspec.Struct, frozen=True, tag_field="type", tag="pong"):
    """Answer to a ping; not needed."""


class CloseConnection(Exception):
    """Ends a connection with this close code; `code` and `message`, if any, go into an error message before."""

    def __init__(self, close_code: int, code: str = "", message: str = "") -> None:
        super().__init__(message)
        self.close_code = close_code
        self.code = code
        self.message = message


_decoder = msgspec.json.Decoder(Subscribe | Pong)
_encoder = msgspec.json.Encoder()


@router.websocket("/ws")
async def live(websocket: WebSocket) -> None:
    """Greets, then serves one watcher until it leaves, breaks the rules, is too slow, or the service ends."""
    context = context_of(websocket)
    try:
        _require_welcome(websocket, context)
    except ApiError as error:
        await websocket.send_denial_response(error_response(problem_of(error)))
        return
    await websocket.accept(PROTOCOL if PROTOCOL in websocket.scope["subprotocols"] else None)
    watcher = WebSocketWatcher(websocket, context.bus)
    context.watchers.add(watcher)
    try:
        await watcher.serve(_refusal(websocket))
    finally:
        context.watchers.discard(watcher)


class WebSocketWatcher:
    """One connection."""

    def __init__(self, websocket: WebSocket, bus: EventBus) -> None:
        self._websocket = websocket
        self._bus = bus
        self._sending = asyncio.Lock()
        self._subscription: Subscription | None = None
        self._pump: asyncio.Task[None] | None = None

    async def serve(self, refusal: Unauthorized | None) -> None:
        hang_up: CloseConnection | None = None
        try:
            if refusal is not None:
                raise CloseConnection(UNAUTHORIZED, refusal.code, refusal.message)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._beat())
                group.create_task(self._read(group))
        except* CloseConnection as reasons:
            hang_up = _first(reasons)
        except* WebSocketDisconnect:
            log.debug("watcher left")
        finally:
            self._unsubscribe()
        if hang_up is not None:
            await self._part(hang_up)

    async def _read(self, group: asyncio.TaskGroup) -> None:
        await self._send(_hello(self._bus.feed))
        await self._follow(await self._first_wish(), group)
        while True:
            wish = await self._receive()
            if isinstance(wish, Subscribe):
                await self._follow(wish, group)
                await asyncio.sleep(_WISH_EVERY_S)

    async def _first_wish(self) -> Subscribe:
        try:
            async with asyncio.timeout(SUBSCRIBE_WITHIN_S):
                while not isinstance(wish := await self._receive(), Subscribe):
                    pass
        except TimeoutError:
            raise CloseConnection(BAD_MESSAGE, "subscribe_timeout", "no subscription came in time") from None
        return wish

    async def _receive(self) -> Subscribe | Pong:
        message = await self._websocket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1005))
        data = message.get("text") or message.get("bytes") or b""
        if len(data) > MAX_MESSAGE_BYTES:
            raise CloseConnection(BAD_MESSAGE, "too_large", f"a message has at most {MAX_MESSAGE_BYTES} bytes")
        try:
            wish: Subscribe | Pong = _decoder.decode(data)
        except (msgspec.DecodeError, UnicodeError) as error:
            raise CloseConnection(BAD_MESSAGE, "bad_message", str(error)[:200]) from None
        return wish

    async def _follow(self, wish: Subscribe, group: asyncio.TaskGroup) -> None:
        """Replaces the subscription by this one."""
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.wait([self._pump])
        self._unsubscribe()
        known = wish.offset if wish.feed == self._bus.feed else None
        self._subscription = subscription = self._bus.subscribe(wish.selection, known)
        offset = self._bus.offset
        snapshot = () if subscription.recovered else self._bus.snapshot(subscription.selection)
        await self._send(
            {"type": "subscribed", "feed": self._bus.feed, "offset": offset, "recovered": subscription.recovered}
        )
        if not subscription.recovered:
            events = [event_encoding.to_builtins(envelope.event) for envelope in snapshot]
            await self._send({"type": "snapshot", "offset": offset, "events": events})
        self._pump = group.create_task(self._carry(subscription))

    async def _carry(self, subscription: Subscription) -> None:
        for envelope in subscription.backlog:
            await self._send_event(envelope)
        try:
            while True:
                await self._send_event(await subscription.next())
        except SubscriberTooSlow as error:
            raise CloseConnection(TOO_SLOW, "too_slow", str(error)) from None
        except BusClosed:
            raise CloseConnection(GOING_AWAY, "going_away", "the service is shutting down") from None

    async def _send_event(self, envelope: Envelope) -> None:
        # The event is encoded by stream.event_encoding alone; only the envelope is written here.
        await self._send_text(
            f'{{"type":"event","offset":{envelope.offset},"event":{event_encoding.encode(envelope.event).decode()}}}'
        )

    async def _beat(self) -> NoReturn:
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            await self._send({"type": "ping", "t": time.time()})

    async def _send(self, message: dict[str, object]) -> None:
        await self._send_text(_encoder.encode(message).decode())

    async def _send_text(self, text: str) -> None:
        try:
            async with self._sending, asyncio.timeout(SEND_WITHIN_S):
                await self._websocket.send_text(text)
        except TimeoutError:
            raise CloseConnection(TOO_SLOW, "too_slow", "messages are not read in time") from None

    async def _part(self, hang_up: CloseConnection) -> None:
        """Says why and closes; a peer that does not read is not waited for."""
        try:
            async with asyncio.timeout(1):
                if hang_up.code:
                    await self._send({"type": "error", "code": hang_up.code, "message": hang_up.message})
                await self._websocket.close(hang_up.close_code, hang_up.code)
        except (TimeoutError, CloseConnection, WebSocketDisconnect, RuntimeError):
            log.debug("watcher is gone")

    def _unsubscribe(self) -> None:
        if self._subscription is not None:
            self._bus.unsubscribe(self._subscription)
            self._subscription = None


def _require_welcome(websocket: WebSocket, context: AppContext) -> None:
    if context.is_local_only:
        require_local_host(websocket.headers.get("host"))
    require_origin(websocket.headers, websocket.scope["scheme"], context.allowed_origins)
    require_watcher_capacity(context)


def require_watcher_capacity(context: AppContext) -> None:
    """Raises Busy where there are as many watchers as there may be."""
    if len(context.watchers) >= MAX_WATCHERS:
        raise Busy("service_full", f"{MAX_WATCHERS} watchers are connected, which is the limit", 5)


def _refusal(websocket: WebSocket) -> Unauthorized | None:
    """Told after the handshake, because a browser cannot see why a handshake failed."""
    token = bearer_of_subprotocols(websocket.scope["subprotocols"]) or bearer_of(
        websocket.headers.get("authorization")
    )
    try:
        caller_of(websocket, token)
    except Unauthorized as error:
        return error
    return None


def _hello(feed: str) -> dict[str, object]:
    return {
        "type": "hello",
        "protocol": PROTOCOL,
        "versions": ["1"],
        "heartbeat_s": HEARTBEAT_S,
        "limits": {"max_message_bytes": MAX_MESSAGE_BYTES, "queue": QUEUE_EVENTS},
        "feed": feed,
    }


def _first(reasons: BaseExceptionGroup[CloseConnection]) -> CloseConnection:
    """The first hang-up of a group, however deep."""
    first = reasons.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
