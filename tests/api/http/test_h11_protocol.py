from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from api.http.h11_protocol import DeadlineProtocol, RequestDeadlines
from tests.api.raw import connect, exchange, read_to_end, send
from tests.api.rig import Rig, running_rig

if TYPE_CHECKING:
    from collections.abc import Iterator

HEAD = b"POST /predict HTTP/1.1\r\nHost: localhost\r\n"
FORM = b"Content-Type: multipart/form-data; boundary=b\r\n"


class Impatient(DeadlineProtocol):
    deadlines = RequestDeadlines(
        head_s=0.6, body_s=0.6, body_bytes_per_s=100_000, linger_s=0.5, check_s=0.05, max_connections=20
    )


@pytest.fixture(scope="module")
def hasty() -> Iterator[Rig]:
    with running_rig(Impatient) as running:
        yield running


def drip(rig: Rig, start: bytes, piece: bytes) -> tuple[int, str, float]:
    """Sends `piece` ten times a second until the server has enough: status, error code, seconds."""
    started_s = time.monotonic()
    with connect(rig.port) as connection:
        send(connection, start)
        connection.settimeout(0.1)
        while time.monotonic() - started_s < 20:
            send(connection, piece)
            try:
                connection.recv(1, 2)      # MSG_PEEK
                break
            except TimeoutError:
                continue
            except OSError:
                break
        took_s = time.monotonic() - started_s
        connection.settimeout(20)
        answer = read_to_end(connection)
        return answer.status, answer.error_code if answer.body else "", took_s


class Crowded(DeadlineProtocol):
    deadlines = RequestDeadlines(
        head_s=30.0, check_s=0.05, max_connections=40, max_heads_per_address=10, give_way_s=0.3
    )


def test_unfinished_heads_give_way_to_each_other_and_never_take_the_health_probe_away() -> None:
    with running_rig(Crowded) as rig, rig.client() as client, ExitStack() as stack:
        first = stack.enter_context(connect(rig.port))
        send(first, HEAD)
        for _ in range(9):
            send(stack.enter_context(connect(rig.port)), HEAD)
        time.sleep(0.5)
        for _ in range(60):
            send(stack.enter_context(connect(rig.port)), b"GET / HT")
            assert client.get("/livez").status_code == 200
        answer = read_to_end(first)
        assert (answer.status, answer.error_code) == (408, "too_slow")


def test_clients_that_connect_at_the_same_time_are_all_answered() -> None:
    with running_rig(Crowded) as rig, ExitStack() as stack:
        connections = [stack.enter_context(connect(rig.port)) for _ in range(30)]
        for connection in connections:
            send(connection, b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert {read_to_end(connection).status for connection in connections} == {200}


@pytest.mark.parametrize("start", [b"", b"GET / HT", HEAD])
def test_a_head_that_does_not_come_is_not_waited_for(hasty: Rig, start: bytes) -> None:
    with connect(hasty.port) as connection:
        send(connection, start)
        answer = read_to_end(connection)
    assert (answer.status, answer.error_code) == (408, "too_slow")
    assert 0.5 <= answer.took_s < 8


def test_a_head_that_drips_is_not_waited_for(hasty: Rig) -> None:
    status, code, took_s = drip(hasty, HEAD, b"X-A: b\r\n")
    assert (status, code) == (408, "too_slow")
    assert took_s < 8


def test_a_body_that_drips_is_not_waited_for(hasty: Rig) -> None:
    start = HEAD + FORM + b"Content-Length: 100000\r\n\r\n--b\r\n"
    status, code, took_s = drip(hasty, start, b"x")
    assert (status, code) == (408, "too_slow")
    assert took_s < 8


def test_chunks_that_drip_are_not_waited_for(hasty: Rig) -> None:
    status, _, took_s = drip(hasty, HEAD + FORM + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n")
    assert status == 408
    assert took_s < 8


def test_a_slow_honest_upload_gets_through(hasty: Rig) -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'
    body = part + b"x" * 400_000 + b"\r\n--b--\r\n"
    with connect(hasty.port) as connection:
        send(connection, HEAD + FORM + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body))
        for start in range(0, len(body), 40_000):      # 1.5 s in all, more than twice the bare deadline
            send(connection, body[start : start + 40_000])
            time.sleep(0.15)
        assert read_to_end(connection).status == 415


def test_input_after_the_response_is_read_for_a_limited_time(hasty: Rig) -> None:
    start = b"GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n"
    started_s = time.monotonic()
    with connect(hasty.port) as connection:
        send(connection, start)
        while send(connection, b"x") and time.monotonic() - started_s < 20:
            time.sleep(0.05)
    assert time.monotonic() - started_s < 8


def test_each_request_of_a_connection_has_its_own_deadline(hasty: Rig) -> None:
    with hasty.client() as client:
        for _ in range(4):
            assert client.get("/health").status_code == 200
            time.sleep(0.4)


def test_small_answers_do_not_wait_for_acknowledgements(rig: Rig) -> None:
    """With Nagle's algorithm on, all but the first few would take 40 ms; on a busy machine some do without it."""
    with rig.client() as client:
        waits_s = []
        for _ in range(20):
            started_s = time.monotonic()
            client.get("/health")
            waits_s.append(time.monotonic() - started_s)
    assert sorted(waits_s)[len(waits_s) // 2 - 3] < 0.03


def test_a_watcher_is_no_slow_request(hasty: Rig) -> None:
    from websockets.sync.client import connect as connect_websocket

    with connect_websocket(hasty.ws_url, subprotocols=["deepguard.v1"]) as websocket:     # type: ignore[list-item]
        assert "hello" in str(websocket.recv())
        time.sleep(1.5)
        websocket.send('{"type":"subscribe","stream":"*"}')
        assert "subscribed" in str(websocket.recv(timeout=20))


def test_more_connections_than_allowed_get_503(hasty: Rig) -> None:
    held = [connect(hasty.port) for _ in range(20)]
    try:
        answer = exchange(hasty.port, b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert answer.status in (0, 503)    # 0: the refusal was lost in the reset of a connection that had sent more
        quiet = connect(hasty.port)
        refused = read_to_end(quiet)
        quiet.close()
        assert (refused.status, refused.error_code) == (503, "service_full")
    finally:
        for connection in held:
            connection.close()
    time.sleep(0.3)
    with hasty.client() as client:
        assert client.get("/health").status_code == 200


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost : b\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X-Bomb: " + b"x" * 200_000,
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(b"X-%d: y\r\n" % i for i in range(20_000)),
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
    ],
    ids=["tls", "nul", "name", "two-lengths", "negative", "chunk", "long-header", "many-headers", "long-path"],
)
def test_malformed_http_gets_a_json_400(rig: Rig, request_bytes: bytes) -> None:
    answer = exchange(rig.port, request_bytes)
    assert answer.status in (0, 400)       # 0: reset while it was still sending
    if answer.status:
        assert answer.error_code == "bad_http"
    assert answer.took_s < 15


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        b"content-length: 0\r\ntransfer-encoding: Chunked\r\n",
    ],
)
def test_nothing_is_read_behind_a_body_of_two_framings(rig: Rig, framing: bytes) -> None:
    head = b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\n" + framing + b"\r\n0\r\n\r\n"
    with connect(rig.port) as connection:
        send(connection, head + b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    assert received.count(b"HTTP/1.1 ") == 1
