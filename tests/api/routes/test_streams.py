from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from tests.api.calls import PORTRAIT, running_call
from tests.api.rig import running_rig
from tests.api.routes.test_files import until
from tests.api.shapes import deviations, golden

if TYPE_CHECKING:
    import httpx

    from tests.api.rig import Rig

FIELDS = {
    "stream", "epoch", "source", "sample", "call_id", "participant_id", "started_s", "state", "width_px", "height_px",
    "verdict", "frames",
}


def test_a_running_stream_is_listed_with_its_verdict(rig: Rig, client: httpx.Client) -> None:
    with running_call(rig, "listed") as call:
        call.feed(seconds=8)
        until(lambda: client.get("/v1/streams/listed").json()["verdict"] is not None)
        one = client.get("/v1/streams/listed").json()
        assert set(one) >= FIELDS
        assert (one["state"], one["source"], one["call_id"]) == ("live", "test", "a-call")
        assert one["verdict"]["stream"] == "listed"
        assert one["width_px"] > 0
        listed = client.get("/v1/streams").json()["streams"]
        assert "listed" in [info["stream"] for info in listed]
        of_call = client.get("/v1/streams", params={"call_id": "a-call"}).json()["streams"]
        assert "listed" in [info["stream"] for info in of_call]
        assert {info["call_id"] for info in of_call} == {"a-call"}
        assert client.get("/v1/streams", params={"call_id": "another"}).json()["streams"] == []
    assert client.get("/v1/streams/listed").json()["state"] == "ended"


def test_stopping_a_stream_closes_its_source(rig: Rig, client: httpx.Client) -> None:
    with running_call(rig, "stopped") as call:
        assert client.delete("/v1/streams/stopped").status_code == 204
        assert call.peer.closed == 1
        assert client.get("/v1/streams/stopped").json()["state"] == "ended"
        assert client.delete("/v1/streams/stopped").status_code == 404


def test_the_newest_frame_and_its_tag(rig: Rig, client: httpx.Client) -> None:
    with running_call(rig, "seen") as call:
        early = client.get("/v1/streams/seen/frame.jpg")
        assert (early.status_code, early.json()["error"]["code"]) == (404, "no_frame")
        call.feed(seconds=2)
        until(lambda: client.get("/v1/streams/seen/frame.jpg").status_code == 200)
        settled_tag(client)
        first = client.get("/v1/streams/seen/frame.jpg")
        assert first.headers["content-type"] == "image/jpeg"
        assert first.headers["cache-control"] == "private, no-store"
        picture = cv2.imdecode(np.frombuffer(first.content, np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None
        assert picture.shape[1] <= 640
        again = client.get("/v1/streams/seen/frame.jpg", headers={"If-None-Match": f'"x", {first.headers["etag"]}'})
        assert (again.status_code, again.content) == (304, b"")
        call.feed(seconds=2)
        until(lambda: client.get("/v1/streams/seen/frame.jpg").headers["etag"] != first.headers["etag"])
    ended = client.get("/v1/streams/seen/frame.jpg")
    assert (ended.status_code, ended.headers["content-type"]) == (200, "image/jpeg"), "the last frame stays a while"


def test_faces_in_previews_are_blurred_if_they_have_to_be() -> None:
    with running_rig(blur_previews=True) as rig, rig.client() as client, running_call(rig, "blurred") as call:
        call.feed(seconds=3)
        until(lambda: client.get("/v1/streams/blurred/frame.jpg").status_code == 200)
        shown = rig.call(rig.context.service.preview, "blurred")
        assert shown is not None
        (face,) = shown.faces
    seen = cv2.imdecode(np.frombuffer(shown.jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
    given = cv2.imdecode(np.frombuffer(PORTRAIT, np.uint8), cv2.IMREAD_GRAYSCALE)
    given = cv2.resize(given, seen.shape[::-1], interpolation=cv2.INTER_AREA)
    height, width = seen.shape
    x, y, w, h = face.box
    inside = (slice(round(y * height), round((y + h) * height)), slice(round(x * width), round((x + w) * width)))
    below = (slice(round(min(0.97, y + 1.4 * h) * height), height), slice(0, width))
    assert edges(seen[inside]) < 0.5 * edges(given[inside]), "nobody is known by this face"
    assert edges(seen[below]) > 0.8 * edges(given[below]), "everything else is as it was"


def edges(grey: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> float:
    """The share of pixels where something begins or ends."""
    return float((np.abs(cv2.Laplacian(grey, cv2.CV_32F)) > 12).mean())


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/streams/nobody"), ("DELETE", "/v1/streams/nobody"), ("GET", "/v1/streams/nobody/frame.jpg"),
     ("GET", "/v1/streams/%00%ff"), ("DELETE", "/v1/streams/..%2f..")],
)
def test_unknown_streams(client: httpx.Client, method: str, path: str) -> None:
    answer = client.request(method, path)
    assert answer.status_code == 404
    assert deviations(golden("error"), answer.json()) == []


def settled_tag(client: httpx.Client) -> None:
    """Waits until no newer frame comes."""
    tags = [""]

    def same() -> bool:
        tags.append(client.get("/v1/streams/seen/frame.jpg").headers["etag"])
        return len(tags) > 6 and len(set(tags[-6:])) == 1

    until(same)
