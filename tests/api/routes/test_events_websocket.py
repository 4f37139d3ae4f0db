from __future__ import annotations

import base64
import json
import socket
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from stream import event_encoding
from stream.event_bus import QUEUE_EVENTS
from stream.events import Label, Reason
from tests.api.calls import running_call, said, started
from tests.api.conftest import KEY
from tests.api.rig import running_rig
from tests.api.routes.test_files import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from websockets.sync.client import ClientConnection

    from tests.api.rig import Rig

ALL = {"type": "subscribe", "stream": "*"}


class Watcher:
    """A client of the protocol."""

    def __init__(self, websocket: ClientConnection) -> None:
        self.websocket = websocket

    def send(self, message: Any) -> None:
        self.websocket.send(message if isinstance(message, str | bytes) else json.dumps(message))

    def next(self, timeout_s: float = 30) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self.websocket.recv(timeout=timeout_s))
        return message

    def subscribe(self, **wish: Any) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """The answer, and the snapshot if there is one."""
        self.send({**ALL, **wish})
        subscribed = self.next()
        assert subscribed["type"] == "subscribed"
        return subscribed, None if subscribed["recovered"] else self.next()

    def close_code(self) -> int | None:
        """Reads to the end."""
        try:
            while True:
                self.websocket.recv(timeout=20)
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else None


@contextmanager
def watch(rig: Rig, key: str = "", query: str = "", **options: Any) -> Iterator[Watcher]:
    token = base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")
    subprotocols: Any = ["deepguard.v1", *([f"bearer.{token}"] if key else [])]
    with connect(rig.ws_url + query, subprotocols=subprotocols, **options) as websocket:
        yield Watcher(websocket)


@contextmanager
def greeted(rig: Rig, key: str = "", **options: Any) -> Iterator[Watcher]:
    with watch(rig, key, **options) as watcher:
        assert watcher.next()["type"] == "hello"
        yield watcher


@pytest.fixture
def watcher(rig: Rig) -> Iterator[Watcher]:
    with greeted(rig) as watcher:
        yield watcher


def publish(rig: Rig, *events: Any) -> None:
    for event in events:
        rig.call(rig.context.bus.publish, event)


def test_hello_states_protocol_and_limits(rig: Rig) -> None:
    with watch(rig) as watcher:
        assert watcher.next() == {
            "type": "hello", "protocol": "deepguard.v1", "versions": ["1"], "heartbeat_s": 15,
            "limits": {"max_message_bytes": 65536, "queue": 256}, "feed": rig.call(lambda: rig.context.bus.feed),
        }
        assert watcher.websocket.subprotocol == "deepguard.v1"


def test_events_come_as_the_wire_encodes_them_and_in_order(rig: Rig, watcher: Watcher) -> None:
    subscribed, snapshot = watcher.subscribe()
    assert snapshot == {"type": "snapshot", "offset": subscribed["offset"], "events": []}
    events = [started("in-order"), said("in-order", 1), said("in-order", 2, Label.FAKE, Reason.EVIDENCE_FAKE)]
    publish(rig, *events)
    received = [watcher.next() for _ in events]
    assert [set(message) for message in received] == [{"type", "offset", "event"}] * 3
    assert [message["event"] for message in received] == [json.loads(event_encoding.encode(event)) for event in events]
    assert [message["offset"] for message in received] == [subscribed["offset"] + number for number in (1, 2, 3)]
    end(rig, "in-order")


def test_the_snapshot_has_the_start_and_the_latest_verdict(rig: Rig, watcher: Watcher) -> None:
    publish(rig, started("known"), said("known", 1), said("known", 2))
    _, snapshot = watcher.subscribe(stream="known")
    assert snapshot is not None
    assert [event["type"] for event in snapshot["events"]] == ["stream.started", "verdict"]
    assert snapshot["events"][1]["sequence"] == 2
    end(rig, "known")


def test_a_subscription_can_be_replaced(rig: Rig, watcher: Watcher) -> None:
    watcher.subscribe(stream="one")
    publish(rig, said("two", 1), said("one", 1))
    assert watcher.next()["event"]["stream"] == "one"
    watcher.subscribe(stream="two")
    publish(rig, said("one", 2), said("two", 2))
    assert watcher.next()["event"]["stream"] == "two"
    for stream in ("one", "two"):
        end(rig, stream)


def test_a_reconnecting_client_gets_exactly_the_missed_events(rig: Rig) -> None:
    with greeted(rig) as first:
        subscribed, _ = first.subscribe()
        publish(rig, said("missed", 1))
        seen = first.next()["offset"]
    publish(rig, *(said("missed", number) for number in (2, 3)))
    with greeted(rig) as second:
        answer, snapshot = second.subscribe(feed=subscribed["feed"], offset=seen)
        assert (answer["recovered"], snapshot) == (True, None)
        publish(rig, said("missed", 4))
        assert [second.next()["event"]["sequence"] for _ in range(3)] == [2, 3, 4]
    end(rig, "missed")


@pytest.mark.parametrize("wish", [{"feed": "of-another-life", "offset": 1}, {"feed": None, "offset": 1}, {"offset": -5},
                                  {"feed": "own", "offset": 10**9}])
def test_a_gap_that_cannot_be_recovered_gets_a_snapshot(rig: Rig, watcher: Watcher, wish: dict[str, Any]) -> None:
    if wish.get("feed") == "own":
        wish = {**wish, "feed": rig.call(lambda: rig.context.bus.feed)}
    answer, snapshot = watcher.subscribe(**wish)
    assert answer["recovered"] is False
    assert snapshot is not None


@pytest.mark.parametrize(
    "message",
    ["", "no json", "[]", "{}", '{"type":"subscribe"}', '{"type":"nothing"}', '{"type":"subscribe","stream":1}',
     '{"type":"subscribe","stream":"*","offset":"1"}', '{"type":"subscribe","stream":"*","offset":1e999}', b"\xff\xfe",
     "[" * 10_000],
)
def test_a_malformed_message_ends_the_connection_with_a_reason(watcher: Watcher, message: str | bytes) -> None:
    watcher.send(message)
    error = watcher.next()
    assert (error["type"], error["code"]) == ("error", "bad_message")
    assert error["message"]
    assert watcher.close_code() == 4400


def test_a_message_of_more_than_the_limit_is_not_read(watcher: Watcher) -> None:
    watcher.send(json.dumps({**ALL, "filler": "x" * 70_000}))
    assert watcher.close_code() == 1009


def test_pongs_are_taken_and_unknown_fields_ignored(watcher: Watcher) -> None:
    watcher.send({"type": "pong", "t": 5})
    subscribed, _ = watcher.subscribe(more="later")
    assert subscribed["type"] == "subscribed"
    watcher.send({"type": "pong"})


@pytest.mark.timeout(90)
def test_clients_must_subscribe_in_time_and_then_get_heartbeats(rig: Rig) -> None:
    with greeted(rig) as silent, greeted(rig) as listening:
        listening.subscribe(stream="nobody")
        started_s = time.monotonic()
        assert silent.next(timeout_s=30)["code"] == "subscribe_timeout"
        assert silent.close_code() == 4400
        assert 9 < time.monotonic() - started_s < 18
        ping = listening.next(timeout_s=30)
        assert ping["type"] == "ping"
        assert abs(ping["t"] - time.time()) < 5


def test_keys_in_the_subprotocol_or_the_header(keyed_rig: Rig) -> None:
    for options in ({"key": KEY}, {"additional_headers": {"Authorization": f"Bearer {KEY}"}}):
        with greeted(keyed_rig, **options) as watcher:     # type: ignore[arg-type]
            assert watcher.websocket.subprotocol == "deepguard.v1"


@pytest.mark.parametrize(
    "options", [{}, {"key": "a-key-that-nobody-has"}, {"query": f"?token={KEY}&access_token={KEY}"}],
    ids=["none", "wrong", "in the address"],
)
def test_a_client_without_a_key_is_closed_before_any_event(keyed_rig: Rig, options: dict[str, Any]) -> None:
    with watch(keyed_rig, **options) as watcher:
        assert watcher.next()["code"] == "unauthorized"
        assert watcher.close_code() == 4401


def test_pages_of_other_origins_do_not_get_in(rig: Rig) -> None:
    with pytest.raises(InvalidStatus) as refused, watch(rig, origin="http://evil.example"):
        pass
    assert refused.value.response.status_code == 403
    assert json.loads(refused.value.response.body)["error"]["code"] == "origin_refused"
    with greeted(rig, origin=rig.url):
        pass


def test_a_listed_origin_gets_in() -> None:
    with running_rig(origins="https://page.example") as rig, greeted(rig, origin="https://page.example"):
        pass


def test_a_name_that_points_here_does_not_get_in(rig: Rig) -> None:
    with (
        socket.create_connection(("127.0.0.1", rig.port)) as connection,
        pytest.raises(InvalidStatus) as refused,
        connect(f"ws://rebound.example:{rig.port}/ws", sock=connection),
    ):
        pass
    assert refused.value.response.status_code == 403


def test_a_real_call_is_heard_from_start_to_end(rig: Rig, watcher: Watcher) -> None:
    watcher.subscribe(stream="heard")
    with running_call(rig, "heard") as call:
        call.feed(seconds=6)
        types = [watcher.next(20)["event"]["type"]]
        verdict = watcher.next(20)["event"]
        assert verdict["type"] == "verdict"
        assert verdict["samples"] > 0
    while types[-1] != "stream.ended":
        types.append(watcher.next(20)["event"]["type"])
    assert types[0] == "stream.started"
    assert types.count("stream.ended") == 1


@pytest.mark.timeout(60)
def test_a_client_that_does_not_read_is_closed_without_delaying_others(rig: Rig) -> None:
    with raw_watcher(rig.port), greeted(rig) as awake:
        awake.subscribe(stream="busy")
        until(lambda: rig.call(lambda: len(rig.context.watchers)) >= 2)
        watchers = rig.call(lambda: len(rig.context.watchers))
        state = [Label.REAL, Label.FAKE]        # a change each time, so that nothing is conflated
        started_s, sent = time.monotonic(), 0
        while rig.call(lambda: len(rig.context.watchers)) == watchers and time.monotonic() - started_s < 30:
            for _ in range(50):
                publish(rig, said("busy", sent, state[sent % 2]))
                assert awake.next()["event"]["sequence"] == sent
                sent += 1
        assert rig.call(lambda: len(rig.context.watchers)) == watchers - 1
        assert sent > QUEUE_EVENTS
    end(rig, "busy")


def test_draining_ends_streams_and_then_connections() -> None:
    with running_rig() as rig, greeted(rig) as watcher, greeted(rig) as idle:
        watcher.subscribe()
        with running_call(rig, "drained"):
            rig.server.should_exit = True
            messages = [watcher.next(20) for _ in range(2)]
            assert [message["event"]["type"] for message in messages] == ["stream.started", "stream.ended"]
            assert messages[1]["event"]["reason"] == "shutdown"
            assert watcher.next()["code"] == "going_away"
            assert watcher.close_code() == 1012
            assert idle.close_code() == 1012


@contextmanager
def raw_watcher(port: int) -> Iterator[socket.socket]:
    """Subscribes to everything and then reads nothing, into a small buffer."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", port))
        connection.sendall(
            b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        assert b" 101 " in connection.recv(100)
        text = json.dumps(ALL).encode()
        connection.sendall(bytes((0x81, 0x80 | len(text))) + bytes(4) + text)      # a masked text frame, mask 0
        yield connection


def end(rig: Rig, stream: str) -> None:
    """Forget a made-up stream."""
    from stream.events import StreamEnded
    from stream.types import EndReason, FrameCounts

    publish(rig, StreamEnded(stream=stream, epoch=1, reason=EndReason.STOPPED, message="", frames=FrameCounts()))
