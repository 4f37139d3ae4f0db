"""Security headers on every kind of answer, and no redirect that trusts the Host header."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import httpx

    from tests.api.rig import Rig

ANSWERS = [
    ("GET", "/", 200), ("GET", "/docs", 200), ("GET", "/openapi.json", 200), ("GET", "/static/js/main.js", 200),
    ("GET", "/livez", 200), ("GET", "/metrics", 200), ("GET", "/v1/streams", 200), ("GET", "/nowhere", 404),
    ("DELETE", "/livez", 405), ("GET", "/v1/incidents?limit=0", 422), ("POST", "/predict", 415),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "status"), ANSWERS)
def test_every_answer_has_security_headers(client: httpx.Client, method: str, path: str, status: int) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert len(answer.headers.get_list("Content-Security-Policy")) == 1


def test_only_the_documentation_may_run_inline_scripts(client: httpx.Client) -> None:
    allowing = [path for _, path, _ in ANSWERS if "unsafe-inline" in
                client.get(path).headers["Content-Security-Policy"]]
    assert allowing == ["/docs"]


def test_an_answer_to_what_is_no_request_has_them_too(rig: Rig) -> None:
    with socket.create_connection(("127.0.0.1", rig.port), timeout=10) as connection:
        connection.sendall(b"NO HTTP AT ALL\r\n\r\n")
        told = connection.recv(4096).decode().lower()
    assert told.startswith("http/1.1 400 ")
    assert "x-content-type-options: nosniff" in told
    assert "frame-ancestors 'none'" in told


@pytest.mark.parametrize("path", ["/livez/", "/v1/streams/", "/v1/incidents/", "/predict/"])
def test_a_slash_at_the_end_is_not_redirected(client: httpx.Client, path: str) -> None:
    answer = client.get(path, headers={"Host": "localhost"})
    assert answer.status_code == 404
    assert "location" not in answer.headers
