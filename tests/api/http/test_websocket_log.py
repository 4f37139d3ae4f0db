"""Refused and broken WebSockets: each has an answer, a log line and a count, and none is an error of the service."""

from __future__ import annotations

import base64
import json
import logging
import os
import socket
from typing import TYPE_CHECKING

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.api.conftest import KEY
from tests.api.routes.test_events_websocket import greeted, watch
from tests.api.routes.test_files import until
from tests.api.routes.test_metrics import figures

if TYPE_CHECKING:
    from collections.abc import Iterator

    from structlog.types import EventDict

    from tests.api.rig import Rig

REFUSED = {
    "another origin": ("/ws", {"Origin": "http://evil.example"}, 403, "origin_refused"),
    "another host": ("/ws", {"Host": "rebound.example"}, 403, "host_refused"),
    "an unknown path": ("/nowhere", {}, 404, "not_found"),
    "a path of HTTP": ("/v1/streams", {}, 404, "not_found"),
}


@pytest.fixture(autouse=True)
def no_error_line(caplog: pytest.LogCaptureFixture, logged: list[EventDict]) -> Iterator[None]:
    """No test of this module makes the server or the service log a warning or an error."""
    caplog.set_level(logging.INFO)
    yield
    assert [record.getMessage() for record in caplog.get_records("call") if record.levelno >= logging.WARNING] == []
    assert [line for line in logged if line["level"] in ("warning", "error", "critical")] == []


def requests_in(logged: list[EventDict]) -> list[EventDict]:
    return [line for line in logged if line["event"] == "request"]


@pytest.mark.parametrize("kind", REFUSED)
def test_a_refused_handshake_is_answered_and_logged_once(rig: Rig, logged: list[EventDict], kind: str) -> None:
    path, headers, status, code = REFUSED[kind]
    answer = shake_hands(rig, path, {"Host": f"localhost:{rig.port}", "X-Request-Id": "mine", **headers})
    head, _, body = answer.partition("\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ")
    assert "x-request-id: mine" in head.lower()
    assert json.loads(body)["error"]["code"] == code
    until(lambda: len(requests_in(logged)) == 1)
    line = requests_in(logged)[0]
    route = "/ws" if path == "/ws" else "unmatched"
    assert (line["status"], line["code"], line["request_id"], line["route"]) == (status, code, "mine", route)


def test_a_client_without_a_key_is_logged_with_the_code_of_its_close(keyed_rig: Rig, logged: list[EventDict]) -> None:
    with watch(keyed_rig, key="a-key-that-nobody-has") as watcher:
        assert watcher.close_code() == 4401
    with greeted(keyed_rig, key=KEY) as watcher:
        assert watcher.websocket.response is not None
        assert len(watcher.websocket.response.headers["X-Request-Id"]) == 16
    until(lambda: len(requests_in(logged)) == 2)
    refused, served = requests_in(logged)
    assert (refused["status"], refused["code"], refused["key"]) == (101, "unauthorized", "")
    assert (served["status"], "code" in served) == (101, False)
    assert KEY not in str(logged)


def test_handshakes_are_counted_by_status_and_code(rig: Rig) -> None:
    name = "deepguard_http_responses_total origin_refused GET /ws 403"

    def count() -> float:
        with rig.client() as client:
            return figures(client.get("/metrics").text).get(name, 0)

    before = count()
    for _ in range(3):
        with pytest.raises(InvalidStatus), connect(rig.ws_url, origin="http://evil.example"):     # type: ignore[arg-type]
            pass
    until(lambda: count() == before + 3)


def test_clients_that_leave_during_the_handshake_are_no_errors(rig: Rig, logged: list[EventDict]) -> None:
    kinds = [("/ws", {}), ("/ws", {"Origin": "http://evil.example"}), ("/nowhere", {})]
    for path, headers in kinds * 10:
        shake_hands(rig, path, {"Host": f"localhost:{rig.port}", **headers}, stays=False)
    shake_hands(rig, "/nowhere", {"Host": f"localhost:{rig.port}", "X-Request-Id": "last"})
    until(lambda: any(line["request_id"] == "last" for line in requests_in(logged)))
    until(lambda: not rig.call(lambda: rig.context.watchers))


def test_text_that_is_not_utf_8_closes_with_1007(rig: Rig, logged: list[EventDict]) -> None:
    with greeted(rig) as watcher:
        watcher.websocket.send([b"\xff", b"\xfe"], text=True)
        assert watcher.close_code() == 1007
    until(lambda: len(requests_in(logged)) == 1)


def shake_hands(rig: Rig, path: str, headers: dict[str, str], stays: bool = True) -> str:
    """Opens a WebSocket; returns the answer, or nothing if the client resets the connection at once."""
    given = {
        "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(), **headers,
    }  # fmt: skip
    lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    with socket.create_connection(("127.0.0.1", rig.port), timeout=10) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode())
        if not stays:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            return ""
        answer = b""
        while part := connection.recv(4096):
            answer += part
    return answer.decode()
