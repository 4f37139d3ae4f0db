"""Nothing that a client sends raises a 500, blocks the loop, or makes the service grow."""

from __future__ import annotations

import gzip
import itertools
import json
import random
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.api.forms import BOUNDARY, CONTENT_TYPE, form, part
from tests.api.raw import connect, exchange, read_to_end, send
from tests.api.rig import Rig, running_rig
from tests.api.routes.test_files import PORTRAIT, post, until
from tests.stream.hostile import JUDGED, corpus, mutations
from tests.synthetic import picture

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx

FUZZ_S = 10.0
HEAD = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {CONTENT_TYPE}\r\n".encode()


@pytest.fixture(scope="module")
def target() -> Iterator[Rig]:
    """A separate service, whose memory no other test changes."""
    with running_rig(max_file_size_bytes=2**20) as running:
        yield running


@pytest.fixture
def sender(target: Rig) -> Iterator[httpx.Client]:
    with target.client() as client:
        yield client


@contextmanager
def answering(rig: Rig, within_s: float = 1.0) -> Iterator[None]:
    """While the block runs, /health answers `within_s` all the time, and the loop is never late by half of that."""
    waits_s: list[float] = []
    over = threading.Event()

    def ask() -> None:
        with rig.client() as client:
            while not waits_s or not over.wait(0.05):
                started_s = time.monotonic()
                if client.get("/health").status_code == 200:
                    waits_s.append(time.monotonic() - started_s)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert waits_s
    assert max(waits_s) < within_s
    assert rig.call(lambda: rig.context.loop_lag.worst_lag_s) < within_s / 2


def nothing_is_left(rig: Rig) -> None:
    def is_empty() -> bool:
        folder = rig.context.spool._folder
        assert folder is not None
        names = [path.name for path in folder.iterdir()]
        return names == ["lock"] and rig.context.spool.free_slots == rig.context.settings.max_uploads

    until(lambda: rig.call(is_empty))


@pytest.mark.timeout(300)
def test_hostile_and_odd_media_end_in_a_typed_refusal_or_a_verdict(
    target: Rig, sender: httpx.Client, tmp_path: Path
) -> None:
    wrong = []
    with answering(target):
        for name, (content, allowed) in corpus(tmp_path):
            if len(content) > 2**20:
                allowed = frozenset({"too_large"})
            started_s = time.monotonic()
            answer = post(sender, "/predict", content, "upload")
            code = JUDGED if answer.status_code == 200 else answer.json()["error"]["code"]
            if code not in allowed or answer.status_code >= 500 or time.monotonic() - started_s > 10:
                wrong.append((name, answer.status_code, code, sorted(allowed)))
    assert wrong == []
    nothing_is_left(target)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (form(*[part(b"x", f"f{number}", None) for number in range(1001)]), "too_many_parts"),
        (form(*[part(b"x", f"f{number}", "a.jpg") for number in range(1001)]), "no_file"),
        (form(*[part(b"x") for _ in range(1001)]), "too_many_files"),
        (form(part(b"x", headers=b"X-A: b\r\n" * 1001)), "bad_multipart"),
        (form(part(b"x", headers=b"X-A: " + b"b" * 500_000 + b"\r\n")), "bad_multipart"),
        (form(part(b"x" * 500_000, "note", None)), "field_too_long"),
        (form(part(PORTRAIT, "a" * 5000)), "bad_multipart"),
        (b"--" * 200_000, "bad_multipart"),
        (b"\r\n" * 250_000, "bad_multipart"),
        (b"--" + BOUNDARY + b"\r\n" * 200_000, "field_too_long"),
        (form(part((b"\r\n--" + BOUNDARY[:-1]) * 40_000)), "unsupported_media"),
    ],
    ids=["parts", "foreign-files", "files", "headers", "header", "field", "name", "dashes", "lines", "open", "near"],
)
def test_forms_that_mean_harm(target: Rig, sender: httpx.Client, body: bytes, code: str) -> None:
    with answering(target):
        answer = sender.post("/predict", content=body, headers={"Content-Type": CONTENT_TYPE})
    assert (answer.status_code, answer.json()["error"]["code"]) in {(400, code), (415, code)}
    nothing_is_left(target)


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize(("size", "status"), [(2**20, 415), (2**20 + 1, 413), (2**20 + 2**17, 413), (9 * 2**20, 413)])
def test_the_limit_counts_bytes_that_came(sender: httpx.Client, size: int, status: int, chunked: bool) -> None:
    body = form(part(b"x" * size))

    def pieces() -> Iterator[bytes]:
        for start in range(0, len(body), 100_000):
            yield body[start : start + 100_000]

    answer = sender.post(
        "/predict", content=pieces() if chunked else body, headers={"Content-Type": CONTENT_TYPE}
    )
    assert answer.status_code == status
    if status == 413:
        message = answer.json()["error"]["message"]
        assert str(2**20) in message or str(2**20 + 2**16) in message


def test_a_length_that_is_too_large_is_refused_before_the_body(target: Rig) -> None:
    with connect(target.port) as connection:
        send(connection, HEAD + b"Content-Length: 99999999999\r\n\r\n")
        connection.settimeout(5)
        assert b"413" in connection.recv(100)


def test_expect_100_is_not_answered_by_an_invitation_to_send_too_much(target: Rig) -> None:
    with connect(target.port) as connection:
        send(connection, HEAD + b"Expect: 100-continue\r\nContent-Length: 99999999999\r\n\r\n")
        connection.settimeout(5)
        assert connection.recv(100).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize("lie", [-100, 100], ids=["shorter", "longer"])
def test_a_length_that_lies(target: Rig, lie: int) -> None:
    body = form(part(PORTRAIT))
    with connect(target.port) as connection:
        send(connection, HEAD + b"Content-Length: %d\r\n\r\n" % (len(body) + lie) + body)
        connection.shutdown(1)      # no more will come
        answer = read_to_end(connection)
    assert answer.status in (0, 400)
    nothing_is_left(target)


def test_a_compressed_body_is_not_unpacked(target: Rig) -> None:
    bomb = gzip.compress(bytes(50 * 2**20))
    head = HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    answer = exchange(target.port, head + bomb)
    assert (answer.status, answer.error_code) == (415, "content_encoding")


def test_clients_that_leave_in_the_middle(target: Rig) -> None:
    body = form(part(PORTRAIT))
    for share in (0.1, 0.5, 0.9):
        with connect(target.port) as connection:
            send(connection, HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body[: int(len(body) * share)])
    nothing_is_left(target)


@pytest.mark.timeout(120)
def test_fuzzed_requests(target: Rig) -> None:
    """Bytes of whole requests changed at random: heads, forms, pictures."""
    seeds = [
        HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
        for body in (form(part(picture(64, 48))), form(part(b"n", "note", None), part(picture(64, 48, ".png"))))
    ]
    tail = b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nIf-None-Match: \"x\"\r\n\r\n"
    seeds.append(b"GET /v1/streams/x/frame.jpg?a=b" + tail)
    seeds.append(b"DELETE /v1/jobs/x" + tail)
    seeds.append(b"GET /health" + tail)
    variants = itertools.zip_longest(*(mutations(seed, number) for number, seed in enumerate(seeds)))
    seen: dict[int, int] = {}
    end_s = time.monotonic() + FUZZ_S
    with answering(target):
        for request in itertools.chain.from_iterable(variants):
            if time.monotonic() > end_s:
                break
            with connect(target.port, timeout_s=20) as connection:
                send(connection, request)
                try:
                    connection.shutdown(1)
                except OSError:
                    continue
                answer = read_to_end(connection)
            seen[answer.status] = seen.get(answer.status, 0) + 1
            assert answer.status < 500, (answer.body, request[:300])
            if answer.status >= 400 and answer.body:
                assert set(json.loads(answer.body)) == {"error"}
    assert sum(seen.values()) > 100
    assert {200, 400, 404} <= set(seen)
    nothing_is_left(target)


@pytest.mark.timeout(120)
def test_fuzzed_websockets(target: Rig) -> None:
    """Bytes of a handshake and of frames changed at random."""
    text = b'{"type":"subscribe","stream":"*","feed":null,"offset":null}'
    frames = b"".join(bytes((kind, 0x80 | len(text))) + bytes(4) + text for kind in (0x81, 0x82, 0x89, 0x88))
    handshake = (
        b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        b"Sec-WebSocket-Protocol: deepguard.v1, bearer.eA\r\n\r\n"
    )
    whole = (handshake + changed for changed in mutations(frames, 11))
    variants = itertools.chain.from_iterable(zip(mutations(handshake + frames, 12), whole, strict=False))
    seen: set[int] = set()
    end_s = time.monotonic() + FUZZ_S / 2
    with answering(target):
        for request in variants:
            if time.monotonic() > end_s:
                break
            with connect(target.port, timeout_s=20) as connection:
                send(connection, request)
                with suppress(OSError):
                    connection.shutdown(1)
                seen.add(read_to_end(connection).status)
    assert 101 in seen
    assert max(seen) < 500
    until(lambda: target.call(lambda: len(target.context.watchers)) == 0)


@pytest.mark.timeout(120)
def test_memory_does_not_grow_with_requests(target: Rig, sender: httpx.Client) -> None:
    process = psutil.Process()
    generator = random.Random(1)

    def round_of_requests() -> None:
        for number in range(60):
            post(sender, "/predict", generator.randbytes(200_000), "a.jpg")
            post(sender, "/predict", b"x" * (2**20 + 1), "a.jpg")
            sender.get(f"/v1/streams/{number}-{generator.random()}")
            sender.get(f"/{generator.random()}")
            sender.get("/v1/jobs/x", headers={"X-Filler": "x" * 8000})

    round_of_requests()
    before = process.memory_info().rss
    for _ in range(3):
        round_of_requests()
    assert process.memory_info().rss - before < 30 * 2**20
