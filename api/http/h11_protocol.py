"""uvicorn's HTTP/1.1 protocol with read deadlines and JSON error responses.

The deadline of a body moves with the bytes received: a slow but steady upload succeeds, a trickle attack does not.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import h11
import structlog
from uvicorn.protocols.http.h11_impl import H11Protocol

from api.http.request_counts import UNMATCHED
from api.http.security_headers import headers_for

if TYPE_CHECKING:
    from api.http.request_counts import RequestCounts

log = structlog.get_logger("api.request")


@dataclass(frozen=True, slots=True)
class RequestDeadlines:
    """Read deadlines of one connection.

    `head_s`: for the whole request head. `body_s`: for the body, plus one second for every `body_bytes_per_s` bytes
    received. `linger_s`: how long input is still read after the response.

    Of more than `max_heads_per_address` connections of one address without a whole request head, the oldest gives way
    to a new one if it has waited for `give_way_s`: clients that connect at the same time are no attack.
    """

    head_s: float = 10.0
    body_s: float = 10.0
    body_bytes_per_s: float = 32 * 1024
    linger_s: float = 5.0
    check_s: float = 1.0
    max_connections: int = 1536
    max_heads_per_address: int = 128
    give_way_s: float = 1.0


class DeadlineProtocol(H11Protocol):
    """One HTTP connection, until it closes or becomes a WebSocket."""

    deadlines: ClassVar[RequestDeadlines] = RequestDeadlines()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deadline_timer: asyncio.TimerHandle | None = None
        self._phase = ""
        self._since_s = 0.0
        self._body_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:    # type: ignore[override] # narrower in uvicorn
        super().connection_made(transport)
        if not self._make_room():
            self._refuse(503, "service_full", "the limit of open connections is reached; try again")
            return
        self._enter("head")
        self._check_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._body_bytes += len(data)
        super().data_received(data)
        self._close_after_two_framings()
        self._update_phase()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._update_phase()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        self._cancel_timer()
        super().handle_websocket_upgrade(event)

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "bad_http", msg)

    def _make_room(self) -> bool:
        """Closes the oldest connection without a whole request, where there are too many; returns whether it fits now.

        So unfinished requests take the place of each other, and never that of a health probe.
        """
        deadlines = self.deadlines
        if len(self.connections) <= min(deadlines.max_heads_per_address, deadlines.max_connections):
            return True
        heads = [other for other in self.connections if isinstance(other, DeadlineProtocol) and other.is_in_head]
        own = [other for other in heads if other.address == self.address]
        is_full = len(self.connections) > deadlines.max_connections
        if not is_full and len(own) < deadlines.max_heads_per_address:
            return True
        oldest = min(heads if is_full else own, key=lambda other: other.since_s, default=None)
        if oldest is None or self.loop.time() - oldest.since_s < deadlines.give_way_s:
            return not is_full
        oldest.give_way()
        return True

    @property
    def is_in_head(self) -> bool:
        """Whether no whole request head has arrived yet."""
        return self._phase == "head" and not self.transport.is_closing()

    @property
    def address(self) -> str:
        """The client's IP address; empty where there is none."""
        return self.client[0] if self.client else ""

    @property
    def since_s(self) -> float:
        """When the current phase began, in seconds of the event loop."""
        return self._since_s

    def give_way(self) -> None:
        """Closes this connection in favour of another one."""
        self._cancel_timer()
        self._refuse(408, "too_slow", "other requests came before this one was complete; send it faster")

    def _close_after_two_framings(self) -> None:
        """Ends the connection after a request with both Content-Length and Transfer-Encoding (RFC 9112, 6.1).

        A proxy may end the body elsewhere: what follows could be a request that the proxy never checked.
        """
        if self.cycle is not None and {b"content-length", b"transfer-encoding"} <= {name for name, _ in self.headers}:
            self.cycle.keep_alive = False

    def _update_phase(self) -> None:
        """Records which part of a request the client is sending."""
        state = self.conn.their_state
        if state is h11.IDLE:
            waiting_for_more = bool(self.conn.trailing_data[0])
            self._enter("head" if waiting_for_more or self._phase == "head" else "idle")
        elif state is h11.SEND_BODY:
            self._enter("linger" if self.cycle is not None and self.cycle.response_complete else "body")
        else:
            self._enter("answering")

    def _enter(self, phase: str) -> None:
        if phase != self._phase:
            self._phase = phase
            self._since_s = self.loop.time()
            self._body_bytes = 0

    def _check_deadline(self) -> None:
        if self._allowed_s() < self.loop.time() - self._since_s:
            self._cancel_timer()
            self._refuse(408, "too_slow", "the request did not arrive before its deadline; send it faster")
            return
        self._deadline_timer = self.loop.call_later(self.deadlines.check_s, self._check_deadline)

    def _allowed_s(self) -> float:
        if self._phase == "body":
            if self.flow.read_paused:       # the service is the slow side
                self._since_s = self.loop.time()
                self._body_bytes = 0
            return self.deadlines.body_s + self._body_bytes / self.deadlines.body_bytes_per_s
        return {"head": self.deadlines.head_s, "linger": self.deadlines.linger_s}.get(self._phase, float("inf"))

    def _cancel_timer(self) -> None:
        if self._deadline_timer is not None:
            self._deadline_timer.cancel()
            self._deadline_timer = None

    def _refuse(self, status: int, code: str, message: str) -> None:
        """Sends an error response unless one has started, then closes the connection."""
        if self.transport.is_closing():
            return
        cycle = self.cycle
        if self._phase != "linger" and (cycle is None or cycle.response_complete or not cycle.response_started):
            body = json.dumps({"error": {"code": code, "message": message}}).encode()
            phrase = {400: "Bad Request", 408: "Request Timeout", 503: "Service Unavailable"}[status]
            request_id = secrets.token_hex(8)
            head = f"HTTP/1.1 {status} {phrase}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            head += "".join(f"{name}: {value}\r\n" for name, value in headers_for("").items())
            self.transport.write(f"{head}X-Request-Id: {request_id}\r\nConnection: close\r\n\r\n".encode() + body)
            if cycle is None or cycle.response_complete:        # otherwise the middleware notes the request
                self._note(status, code, request_id)
        if cycle is not None:       # the route's remaining output is discarded
            cycle.disconnected = True
            cycle.message_event.set()
        self.transport.close()

    def _note(self, status: int, code: str, request_id: str) -> None:
        """Logs and counts an answer to what never became a request."""
        counts: RequestCounts | None = getattr(getattr(self.config.app, "state", None), "request_counts", None)
        if counts is not None:
            counts.add("other", UNMATCHED, status, code)
        log.info(
            "request", method="other", route=UNMATCHED, status=status, code=code, key="", request_id=request_id
        )
