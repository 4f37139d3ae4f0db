"""HEAD wherever GET is, with the same status and headers and no body."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.api.calls import running_call
from tests.api.routes.test_files import until

if TYPE_CHECKING:
    import httpx

    from tests.api.rig import Rig

# They differ from one request to the next.
OWN = frozenset({"date", "x-request-id", "content-length", "transfer-encoding"})


@pytest.mark.parametrize("path", [
    "/", "/docs", "/openapi.json", "/static/js/main.js", "/health", "/livez", "/readyz", "/v1/limits", "/v1/policy",
    "/v1/streams", "/v1/incidents", "/v1/incidents/none", "/v1/webhooks/dead", "/v1/streams/none", "/nowhere",
])  # fmt: skip
def test_head_has_the_status_and_headers_of_get(client: httpx.Client, path: str) -> None:
    got, asked = client.get(path), client.head(path)
    assert (asked.status_code, asked.content) == (got.status_code, b"")
    assert {k: v for k, v in asked.headers.items() if k not in OWN} == {
        k: v for k, v in got.headers.items() if k not in OWN
    }


def test_head_tells_the_length_where_get_does(client: httpx.Client) -> None:
    got, asked = client.get("/openapi.json"), client.head("/openapi.json")
    assert asked.headers["content-length"] == got.headers["content-length"]


def test_head_on_a_stream_of_events_ends(rig: Rig, client: httpx.Client) -> None:
    started_s = time.monotonic()
    answer = client.head("/v1/events")
    assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, "text/event-stream")
    assert time.monotonic() - started_s < 5
    until(lambda: not rig.call(lambda: rig.context.watchers))


def test_head_on_a_frame_and_its_tag(rig: Rig, client: httpx.Client) -> None:
    with running_call(rig, "head-call"):
        assert client.head("/v1/streams/head-call").status_code == 200


def test_a_route_without_get_has_no_head(client: httpx.Client) -> None:
    answer = client.head("/predict")
    assert answer.status_code == 405
    assert "HEAD" not in answer.headers["allow"]


def test_allow_names_head_beside_get(client: httpx.Client) -> None:
    assert client.delete("/livez").headers["allow"] == "GET, HEAD"
