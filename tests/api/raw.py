"""HTTP by hand, for requests that no client library would send."""

from __future__ import annotations

import json
import socket
import time
from dataclasses import dataclass, field
from typing import Any


@dataclass
class RawAnswer:
    """What came back until the server closed; `status` is 0 if that was nothing. `took_s` runs until the close."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    took_s: float = 0.0

    @property
    def error_code(self) -> Any:
        return json.loads(self.body)["error"]["code"]


def connect(port: int, timeout_s: float = 30) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=timeout_s)


def send(connection: socket.socket, data: bytes) -> bool:
    """Whether the server still takes it."""
    try:
        connection.sendall(data)
    except OSError:
        return False
    return True


def read_to_end(connection: socket.socket) -> RawAnswer:
    started_s = time.monotonic()
    received = b""
    try:
        while piece := connection.recv(65536):
            received += piece
    except ConnectionResetError:
        pass
    answer = parse(received)
    answer.took_s = time.monotonic() - started_s
    return answer


def parse(received: bytes) -> RawAnswer:
    head, _, body = received.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    if not lines[0].startswith("HTTP/"):
        return RawAnswer()
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    length = int(headers.get("content-length", len(body)))      # behind it may be the answer to a second request
    return RawAnswer(int(lines[0].split()[1]), headers, body[:length])


def exchange(port: int, request: bytes) -> RawAnswer:
    """Sends all of it at once and reads until the server closes."""
    with connect(port) as connection:
        send(connection, request)
        return read_to_end(connection)
