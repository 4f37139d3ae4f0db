"""One client cannot take a service away from the others: uploads, and sources that never send."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from api.routes import events_websocket
from tests.api.conftest import KEY, OTHER_KEY
from tests.api.forms import CONTENT_TYPE, form, part
from tests.api.rig import Rig, running_rig
from tests.api.routes.test_files import until
from tests.api.uploads.test_spool import JPEG

if TYPE_CHECKING:
    from collections.abc import Iterator

SLOTS = 4


@pytest.fixture(scope="module")
def shared_rig() -> Iterator[Rig]:
    with running_rig(api_keys=f"{KEY},{OTHER_KEY}", max_uploads=SLOTS, max_streams_per_key=3) as rig:
        yield rig


def slow_upload(rig: Rig, key: str, sent: int) -> socket.socket:
    """An upload that has sent the first bytes of its file, and sends no more."""
    body = form(part(JPEG, filename="a.jpg"))
    connection = socket.create_connection(("127.0.0.1", rig.port))
    head = (
        f"POST /predict HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\nContent-Type: {CONTENT_TYPE}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    connection.sendall(head.encode() + body[:sent])
    return connection


def test_slow_uploads_of_one_key_give_way_to_another_key(shared_rig: Rig) -> None:
    held = [slow_upload(shared_rig, KEY, 400 * (n + 1)) for n in range(SLOTS)]
    until(lambda: shared_rig.call(lambda: shared_rig.context.spool.free_slots) == 0)
    files = {"file": ("a.jpg", JPEG)}
    with shared_rig.client(KEY) as own:
        answer = own.post("/predict", files=files)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "uploads_full"), "no room for its own"
    with shared_rig.client(OTHER_KEY) as other:
        answer = other.post("/predict", files=files)
        assert answer.status_code == 200, answer.text
    held[0].settimeout(10)
    told = held[0].recv(4096).decode()
    assert told.startswith("HTTP/1.1 503 ")
    assert "gave way to another client" in told
    for connection in held[1:]:
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(1)
    for connection in held:
        connection.close()
    until(lambda: shared_rig.call(lambda: shared_rig.context.spool.free_slots) == SLOTS)


def test_two_clients_with_as_many_uploads_leave_each_other_alone(shared_rig: Rig) -> None:
    held = [slow_upload(shared_rig, key, 400) for key in (KEY, OTHER_KEY) * (SLOTS // 2)]
    until(lambda: shared_rig.call(lambda: shared_rig.context.spool.free_slots) == 0)
    for key in (KEY, OTHER_KEY):
        with shared_rig.client(key) as client:
            assert client.post("/predict", files={"file": ("a.jpg", JPEG)}).status_code == 503
    for connection in held:
        connection.close()
    until(lambda: shared_rig.call(lambda: shared_rig.context.spool.free_slots) == SLOTS)


def test_the_limit_per_key_counts_sources_of_every_kind(shared_rig: Rig) -> None:
    with shared_rig.client(KEY) as client, shared_rig.client(OTHER_KEY) as other, socket.create_server(
        ("127.0.0.1", 0)
    ):
        for number in range(3):
            client.post("/v1/streams", json={"stream": f"s{number}", "rtp": {"codec": "vp8"}}).raise_for_status()
        refused = client.post("/v1/streams", json={"stream": "s3", "rtp": {"codec": "h264"}})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "sources_full")
        other.post("/v1/streams", json={"stream": "o0", "rtp": {"codec": "vp8"}}).raise_for_status()
        for stream in ("s0", "s1", "s2", "o0"):
            client.delete(f"/v1/streams/{stream}")


def test_idle_receivers_of_one_key_do_not_refuse_another() -> None:
    """More sources start at once than the service admits."""
    with running_rig(api_keys=f"{KEY},{OTHER_KEY}") as rig, rig.client(KEY) as client, rig.client(OTHER_KEY) as other:
        began_s, statuses = time.monotonic(), []
        for number in range(12):
            answer = client.post("/v1/streams", json={"stream": f"s{number}", "rtp": {"codec": "vp8"}})
            statuses.append(answer.status_code)
        assert time.monotonic() - began_s < 2.5, "they count as starting for three seconds"
        assert 503 in statuses
        other.post("/v1/streams", json={"stream": "other", "rtp": {"codec": "vp8"}}).raise_for_status()


def test_one_key_leaves_places_for_the_watchers_of_others(shared_rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events_websocket, "MAX_WATCHERS", 4)
    monkeypatch.setattr(events_websocket, "MAX_WATCHERS_PER_CALLER", 3)

    def status(stack: ExitStack, key: str) -> int:
        client = stack.enter_context(shared_rig.client(key))
        return stack.enter_context(client.stream("GET", "/v1/events")).status_code

    with ExitStack() as stack:
        assert [status(stack, KEY) for _ in range(4)] == [200, 200, 200, 503]
        assert [status(stack, OTHER_KEY) for _ in range(2)] == [200, 503]
    until(lambda: not shared_rig.call(lambda: shared_rig.context.watchers))
