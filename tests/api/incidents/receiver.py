"""A real HTTP server that receives webhooks and answers with configured statuses."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple

from standardwebhooks import Webhook

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
WITHIN_S = 30.0


class Received(NamedTuple):
    """One request. `message` is what its signature vouches for."""

    id: str
    message: Any


class Receiver:
    """`answers` are statuses for the next requests, 200 when they run out."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.received: list[Received] = []
        self.unsigned: list[str] = []
        self.answers: list[int] = []
        self._lock = threading.Lock()

    @property
    def ids(self) -> list[str]:
        return [one.id for one in self.received]

    def take(self, headers: dict[str, str], body: bytes) -> int:
        """The status to answer with."""
        with self._lock:
            try:
                self.received.append(Received(headers["webhook-id"], Webhook(SECRET).verify(body, headers)))
            except Exception as error:      # noqa: BLE001  the test reports the error
                self.unsigned.append(repr(error))
            return self.answers.pop(0) if self.answers else 200

    def wait_for(self, count: int) -> list[Received]:
        """Returns when so many have come."""
        end_s = time.monotonic() + WITHIN_S
        while len(self.received) < count:
            assert time.monotonic() < end_s, f"{len(self.received)} of {count} came; {self.unsigned}"
            time.sleep(0.02)
        return self.received


@contextmanager
def receiving(port: int = 0) -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            self.send_response(receiver.take({k.lower(): v for k, v in self.headers.items()}, body))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        receiver = Receiver(f"http://127.0.0.1:{server.server_port}/hook")
        serving = threading.Thread(target=server.serve_forever, name="webhook receiver")
        serving.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            serving.join()
