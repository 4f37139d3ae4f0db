"""Request ids, log lines and counts of answers, on the running service."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING

import pytest

from tests.api.conftest import KEY
from tests.api.rig import running_rig
from tests.api.routes.test_files import until
from tests.api.routes.test_metrics import figures

if TYPE_CHECKING:
    import httpx
    from structlog.types import EventDict

    from tests.api.rig import Rig


def test_every_answer_has_a_request_id(client: httpx.Client) -> None:
    for path in ("/livez", "/nowhere", "/v1/incidents?limit=0", "/"):
        assert len(client.get(path).headers["X-Request-Id"]) == 16


@pytest.mark.parametrize(("given", "kept"), [
    ("abc-1.2_3", True), ("x" * 64, True), ("x" * 65, False), ("", False), ("a b", False), ('{"a":1}', False),
])  # fmt: skip
def test_a_well_formed_request_id_of_the_client_is_kept(client: httpx.Client, given: str, kept: bool) -> None:
    assert (client.get("/livez", headers={"X-Request-Id": given}).headers["X-Request-Id"] == given) is kept


def test_a_refused_request_is_logged_with_its_code_and_the_name_of_its_key(
    keyed_rig: Rig, logged: list[EventDict]
) -> None:
    with keyed_rig.client(KEY) as client:
        refused = client.get("/v1/incidents/none?secret=word", headers={"X-Request-Id": "mine"})
        accepted = client.get("/v1/incidents")
    assert (refused.status_code, accepted.status_code) == (404, 200)
    until(lambda: [line["event"] for line in logged].count("request") == 2)     # logged after the answer is sent
    first, second = [line for line in logged if line["event"] == "request"]
    assert (first["status"], first["code"], first["request_id"]) == (404, "incident_unknown", "mine")
    assert first["route"] == "/v1/incidents/{incident_id}"
    assert first["key"].startswith("key-")
    assert "code" not in second
    assert KEY not in str(logged)
    assert "word" not in str(logged)


@pytest.mark.parametrize(("path", "content_type", "body", "status", "code"), [
    ("/whip/refused", "application/sdp", b"v=0", 400, "sdp_malformed"),
    ("/whip/refused", "text/plain", b"v=0", 415, "wrong_content_type"),
    ("/whip/refused", "application/sdp", b"v=0\r\n" * 40_000, 413, "too_large"),
    ("/v1/streams", "application/json", b'{"stream": "a", "url": "http://127.0.0.1/?secret=word"}', 422,
     "address_not_allowed"),
])  # fmt: skip
def test_a_refused_offer_is_logged_once_with_its_code(
    keyed_rig: Rig, logged: list[EventDict], path: str, content_type: str, body: bytes, status: int, code: str
) -> None:
    with keyed_rig.client(KEY) as client:
        answer = client.post(path, content=body, headers={"Content-Type": content_type})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    request_id = answer.headers["X-Request-Id"]
    until(lambda: any(line.get("request_id") == request_id for line in logged))
    (line,) = [line for line in logged if line.get("request_id") == request_id]
    assert (line["status"], line["code"]) == (status, code)
    assert code == "too_large" or line["key"].startswith("key-")      # a body is counted before its key is looked at
    assert KEY not in str(logged)
    assert "word" not in str(logged)


def test_answers_are_counted_by_method_route_status_and_code(client: httpx.Client) -> None:
    name = "deepguard_http_responses_total"
    wanted = {
        f"{name} incident_unknown GET /v1/incidents/{{incident_id}} 404", f"{name}  GET /livez 200",
        f"{name} method_not_allowed other /livez 405",
    }  # fmt: skip

    def counts() -> dict[str, float]:
        found = figures(client.get("/metrics").text)
        return {kind: found.get(kind, 0) for kind in wanted}

    client.get("/livez")
    before = counts()
    client.get("/v1/incidents/none")
    client.get("/livez")
    client.request("BREW", "/livez")
    until(lambda: counts() == {kind: number + 1 for kind, number in before.items()})


@pytest.mark.parametrize("sent", [
    b"GARBAGE\r\n\r\n", b"GET /\x00 HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
])  # fmt: skip
def test_what_is_no_request_is_answered_logged_and_counted_too(rig: Rig, logged: list[EventDict], sent: bytes) -> None:
    name = "deepguard_http_responses_total bad_http other unmatched 400"

    def count() -> float:
        with rig.client() as client:
            return figures(client.get("/metrics").text).get(name, 0)

    before = count()
    with socket.create_connection(("127.0.0.1", rig.port), timeout=10) as connection:
        connection.sendall(sent)
        answer = connection.recv(4096).decode()
    (request_id,) = re.findall("X-Request-Id: ([0-9a-f]{16})\r\n", answer)
    until(lambda: any(line.get("request_id") == request_id for line in logged))
    (line,) = [line for line in logged if line.get("request_id") == request_id]
    assert (line["status"], line["code"], line["event"]) == (400, "bad_http", "request")
    assert count() == before + 1


def test_metrics_are_public_unless_a_setting_makes_them_private(keyed_rig: Rig) -> None:
    with keyed_rig.client() as client:
        assert client.get("/metrics").status_code == 200
    with running_rig(api_keys=KEY, metrics_private=True) as rig:
        with rig.client() as client:
            assert client.get("/metrics").status_code == 401
            assert client.get("/livez").status_code == 200
        with rig.client(KEY) as client:
            assert client.get("/metrics").status_code == 200
