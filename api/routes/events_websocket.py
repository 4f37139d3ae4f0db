"""The WebSocket `/ws`, subprotocol deepguard.v1: live events. Contract: `docs/contracts/websocket.md`.

A connection has three tasks: one reads requests, one sends pings, one sends the events of the current subscription.
Publishing never waits for them: events wait in the subscription's bounded queue. A client that lets the queue overflow,
or does not take a message in time, is closed with code 4008.
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
from api.http.auth import address_of, bearer_of, bearer_of_subprotocols
from api.http.error_responses import note_code, problem_of, request_error_response
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
MAX_WATCHERS_PER_CALLER = 768       # leaves places for others
EVERYTHING = "*"

_RESUBSCRIBE_INTERVAL_S = 0.1      # a snapshot costs the service more than a request costs the client

GOING_AWAY, BAD_MESSAGE, UNAUTHORIZED, TOO_SLOW = 1012, 4400, 4401, 4008

router = APIRouter()


class Subscribe(msgspec.Struct, frozen=True, tag_field="type", tag="subscribe"):
    """Request for the events of one stream, or "*" for all. `call` and `labels` narrow them further.

    `feed` and `offset` are those of the last event that the client received.
    """

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
    """Optional reply to a ping."""


class CloseConnection(Exception):
    """Closes the connection with a close code, after an error message if `code` is set."""

    def __init__(self, close_code: int, code: str = "", message: str = "") -> None:
        super().__init__(message)
        self.close_code = close_code
        self.code = code
        self.message = message


_decoder = msgspec.json.Decoder(Subscribe | Pong)
_encoder = msgspec.json.Encoder()


@router.websocket("/ws")
async def live(websocket: WebSocket) -> None:
    """Serves one client until it disconnects, violates the protocol, is too slow, or the service shuts down."""
    context = context_of(websocket)
    caller, refusal = _authenticated(websocket)
    try:
        _check_handshake(websocket, context, caller)
    except ApiError as error:
        await websocket.send_denial_response(request_error_response(websocket.scope, problem_of(error)))
        return
    await websocket.accept(PROTOCOL if PROTOCOL in websocket.scope["subprotocols"] else None)
    watcher = WebSocketWatcher(websocket, context.bus)
    context.watchers[watcher] = caller
    try:
        await watcher.serve(refusal)
    finally:
        context.watchers.pop(watcher, None)


class WebSocketWatcher:
    """One connection: its subscription and its tasks."""

    def __init__(self, websocket: WebSocket, bus: EventBus) -> None:
        self._websocket = websocket
        self._bus = bus
        self._sending = asyncio.Lock()
        self._subscription: Subscription | None = None
        self._pump: asyncio.Task[None] | None = None

    async def serve(self, refusal: Unauthorized | None) -> None:
        closing: CloseConnection | None = None
        try:
            if refusal is not None:
                raise CloseConnection(UNAUTHORIZED, refusal.code, refusal.message)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._send_pings())
                group.create_task(self._read(group))
        except* CloseConnection as reasons:
            closing = _first(reasons)
        except* WebSocketDisconnect:
            log.debug("client disconnected")
        finally:
            self._unsubscribe()
        if closing is not None:
            await self._close(closing)

    async def _read(self, group: asyncio.TaskGroup) -> None:
        await self._send(_hello(self._bus.feed))
        await self._subscribe(await self._first_request(), group)
        while True:
            request = await self._receive()
            if isinstance(request, Subscribe):
                await self._subscribe(request, group)
                await asyncio.sleep(_RESUBSCRIBE_INTERVAL_S)

    async def _first_request(self) -> Subscribe:
        try:
            async with asyncio.timeout(SUBSCRIBE_WITHIN_S):
                while not isinstance(request := await self._receive(), Subscribe):
                    pass
        except TimeoutError:
            raise CloseConnection(BAD_MESSAGE, "subscribe_timeout", "no subscribe message in time") from None
        return request

    async def _receive(self) -> Subscribe | Pong:
        message = await self._websocket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1005))
        data = message.get("text") or message.get("bytes") or b""
        if len(data) > MAX_MESSAGE_BYTES:
            raise CloseConnection(BAD_MESSAGE, "too_large", f"the message is larger than {MAX_MESSAGE_BYTES} bytes")
        try:
            request: Subscribe | Pong = _decoder.decode(data)
        except (msgspec.DecodeError, UnicodeError) as error:
            raise CloseConnection(BAD_MESSAGE, "bad_message", str(error)[:200]) from None
        return request

    async def _subscribe(self, request: Subscribe, group: asyncio.TaskGroup) -> None:
        """Replaces the current subscription."""
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.wait([self._pump])
        self._unsubscribe()
        known = request.offset if request.feed == self._bus.feed else None
        self._subscription = subscription = self._bus.subscribe(request.selection, known)
        offset = self._bus.offset
        snapshot = () if subscription.recovered else self._bus.snapshot(subscription.selection)
        await self._send(
            {"type": "subscribed", "feed": self._bus.feed, "offset": offset, "recovered": subscription.recovered}
        )
        if not subscription.recovered:
            events = [event_encoding.to_builtins(envelope.event) for envelope in snapshot]
            await self._send({"type": "snapshot", "offset": offset, "events": events})
        self._pump = group.create_task(self._send_events(subscription))

    async def _send_events(self, subscription: Subscription) -> None:
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
        # stream.event_encoding is the only encoder of events; this adds the envelope.
        await self._send_text(
            f'{{"type":"event","offset":{envelope.offset},"event":{event_encoding.encode(envelope.event).decode()}}}'
        )

    async def _send_pings(self) -> NoReturn:
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
            raise CloseConnection(TOO_SLOW, "too_slow", f"a message was not read within {SEND_WITHIN_S:g} s") from None

    async def _close(self, closing: CloseConnection) -> None:
        """Sends the error and closes, within one second."""
        try:
            async with asyncio.timeout(1):
                if closing.code:
                    note_code(self._websocket.scope, closing.code)
                    await self._send({"type": "error", "code": closing.code, "message": closing.message})
                await self._websocket.close(closing.close_code, closing.code)
        except (TimeoutError, CloseConnection, WebSocketDisconnect, RuntimeError):
            log.debug("client disconnected before the close")

    def _unsubscribe(self) -> None:
        if self._subscription is not None:
            self._bus.unsubscribe(self._subscription)
            self._subscription = None


def _check_handshake(websocket: WebSocket, context: AppContext, caller: str) -> None:
    if context.is_local_only:
        require_local_host(websocket.headers.get("host"))
    require_origin(websocket.headers, websocket.scope["scheme"], context.allowed_origins)
    require_watcher_capacity(context, caller)


def require_watcher_capacity(context: AppContext, caller: str) -> None:
    """Raises Busy if the limit of event clients is reached, or that of one key or address."""
    if len(context.watchers) >= MAX_WATCHERS:
        raise Busy("service_full", f"{MAX_WATCHERS} event clients are connected, which is the limit; try again", 5)
    if sum(other == caller for other in context.watchers.values()) >= MAX_WATCHERS_PER_CALLER:
        message = f"{MAX_WATCHERS_PER_CALLER} event clients of this key or address are connected, which is the limit"
        raise Busy("service_full", message, 5)


def _authenticated(websocket: WebSocket) -> tuple[str, Unauthorized | None]:
    """Returns the caller's identity, and the authentication error of a caller without a valid key.

    The error is sent after the handshake, because browsers hide handshake errors.
    """
    token = bearer_of_subprotocols(websocket.scope["subprotocols"]) or bearer_of(
        websocket.headers.get("authorization")
    )
    try:
        return caller_of(websocket, token).identity, None
    except Unauthorized as error:
        return address_of(websocket), error


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
    """Returns the first close reason of a nested exception group."""
    first = reasons.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
