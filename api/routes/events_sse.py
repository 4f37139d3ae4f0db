"""`GET /v1/events`: the events of `/ws` as Server-Sent Events, for clients that cannot use WebSockets.

Contract: `docs/contracts/websocket.md`. A client that stops reading is disconnected by TCP (see
`api.http.listener.listening_socket`); until then its events wait in a bounded queue.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import msgspec
from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event

from api.http.auth import Caller
from api.http.head_requests import is_head
from api.routes.context import context_of
from api.routes.dependencies import require_key
from api.routes.events_websocket import HEARTBEAT_S, require_watcher_capacity
from stream import event_encoding
from stream.errors import BusClosed, SubscriberTooSlow
from stream.event_bus import Selection
from stream.events import Label

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from api.routes.context import AppContext
    from stream.event_bus import Envelope, EventBus, Subscription

_RECONNECT_MS = 2000
_HEARTBEAT = b": heartbeat\n\n"

router = APIRouter(prefix="/v1/events", tags=["streams"], dependencies=[Depends(require_key)])
_encoder = msgspec.json.Encoder()


@router.get("", response_class=StreamingResponse, responses={200: {"content": {"text/event-stream": {}}}})
async def events(
    request: Request,
    stream: Annotated[str | None, Query(max_length=200)] = None,
    call: Annotated[str | None, Query(max_length=200)] = None,
    label: Annotated[list[Label] | None, Query()] = None,
    last_event_id: Annotated[str, Header(max_length=100)] = "",
    *,
    caller: Annotated[Caller, Depends(require_key)],
) -> Response:
    """Streams events for EventSource: first a `snapshot`, then one JSON message per event."""
    context = context_of(request)
    require_watcher_capacity(context, caller.identity)
    chosen = Selection(_only(stream), _only(call), frozenset(label) if label else None)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    if is_head(request.scope):
        return Response(headers=headers, media_type="text/event-stream")
    return StreamingResponse(
        _stream(context, chosen, last_event_id, caller.identity), headers=headers, media_type="text/event-stream"
    )


async def _stream(
    context: AppContext, chosen: Selection, last_event_id: str, caller: str
) -> AsyncGenerator[bytes, None]:
    bus = context.bus
    subscription = bus.subscribe(chosen, _offset_of(last_event_id, bus.feed))
    context.watchers[subscription] = caller
    try:
        yield _first_message(bus, subscription)
        for envelope in subscription.backlog:
            yield _message(bus, envelope)
        while True:
            yield await _next(bus, subscription)
    except (SubscriberTooSlow, BusClosed):
        return      # EventSource reconnects by itself with its last event id
    finally:
        context.watchers.pop(subscription, None)
        bus.unsubscribe(subscription)


def _first_message(bus: EventBus, subscription: Subscription) -> bytes:
    """Returns the snapshot message, or only the reconnect time if the missed events follow."""
    if subscription.recovered:
        return bytes(format_sse_event(retry=_RECONNECT_MS))
    known = [event_encoding.to_builtins(envelope.event) for envelope in bus.snapshot(subscription.selection)]
    data = _encoder.encode({"events": known}).decode()
    position = f"{bus.feed}:{bus.offset}"
    return bytes(format_sse_event(data_str=data, event="snapshot", id=position, retry=_RECONNECT_MS))


async def _next(bus: EventBus, subscription: Subscription) -> bytes:
    try:
        async with asyncio.timeout(HEARTBEAT_S):
            return _message(bus, await subscription.next())
    except TimeoutError:
        return _HEARTBEAT


def _message(bus: EventBus, envelope: Envelope) -> bytes:
    data = event_encoding.encode(envelope.event).decode()
    return bytes(format_sse_event(data_str=data, id=f"{bus.feed}:{envelope.offset}"))


def _offset_of(last_event_id: str, feed: str) -> int | None:
    """Returns the offset in this feed; None for another feed or an invalid id."""
    known_feed, _, offset = last_event_id.partition(":")
    return int(offset) if known_feed == feed and offset.isascii() and offset.isdecimal() and len(offset) < 19 else None


def _only(wanted: str | None) -> frozenset[str] | None:
    return None if wanted is None else frozenset((wanted,))
