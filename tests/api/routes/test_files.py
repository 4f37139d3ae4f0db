from __future__ import annotations

import struct
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from api.routes.jobs import JobAnswer
from api.routes.schemas import GradcamAnswer, HealthAnswer, ImageAnswer, LimitsAnswer, VideoAnswer
from tests.api.conftest import KEY, OTHER_KEY
from tests.api.rig import running_rig
from tests.api.shapes import answer_as, deviations, golden
from tests.synthetic import Clip, picture, video

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import httpx

    from tests.api.rig import Rig

MEDIA = Path(__file__).resolve().parents[2] / "media"
PORTRAIT = (MEDIA / "obama.jpg").read_bytes()
SAMPLE_CALL = (MEDIA.parents[1] / "api" / "demo_media" / "sample_call.mp4").read_bytes()    # seconds of work
JOB_S = 60


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A second of a test pattern: no face."""
    return video(tmp_path_factory.mktemp("clip") / "clip.mp4", Clip(frames=30)).read_bytes()


def post(client: httpx.Client, path: str, content: bytes, name: str = "a.jpg") -> httpx.Response:
    return client.post(path, files={"file": (name, content)})


def fresh(content: bytes) -> bytes:
    """The same picture or video in other bytes, so that no cache knows it."""
    return content + struct.pack(">I4sQ", 16, b"free", time.monotonic_ns())


def finished(client: httpx.Client, job: dict[str, Any]) -> dict[str, Any]:
    seen = [0.0]
    for _ in range(JOB_S * 20):
        answer: dict[str, Any] = client.get(job["status_url"]).json()
        assert answer["progress"] >= seen[-1]
        seen.append(answer["progress"])
        if answer["state"] in ("done", "failed"):
            return answer
        time.sleep(0.05)
    raise AssertionError("the job did not end")


def test_health_has_its_shape(client: httpx.Client) -> None:
    answer = client.get("/health")
    assert answer.status_code == 200
    assert deviations(golden("health"), answer.json()) == []
    assert answer.json()["model_loaded"] is True
    answer_as(HealthAnswer, answer.json())


def test_reported_limits_are_enforced(client: httpx.Client) -> None:
    limits = answer_as(LimitsAnswer, client.get("/v1/limits").json())
    assert limits.max_upload_bytes == 4 * 2**20
    assert {".jpg", ".png", ".mp4", ".avi", ".mov"} <= set(limits.upload_extensions)
    assert not limits.auth_required
    assert 0 < limits.undecided.low < 0.5 < limits.undecided.high < 1


def test_a_picture_answer_matches_the_golden_schema(client: httpx.Client) -> None:
    answer = post(client, "/predict", fresh(PORTRAIT))
    assert answer.status_code == 200
    assert deviations(golden("predict_image"), answer.json()) == []
    body = answer_as(ImageAnswer, answer.json())
    assert body.probabilities.fake is not None
    assert body.faces_detected >= 1
    assert body.model is not None


def test_a_video_answer_matches_the_golden_schema(client: httpx.Client, clip: bytes) -> None:
    answer = post(client, "/predict", clip, "a.mp4")
    assert answer.status_code == 200
    assert deviations(golden("predict_video"), answer.json()) == []
    body = answer_as(VideoAnswer, answer.json())
    assert (body.label, body.reason, body.faces_detected) == ("UNCERTAIN", "no_face", 0)
    assert body.total_frames == 30
    assert 1 <= body.frames_analyzed <= 32
    numbers = [frame.frame_number for frame in body.frame_predictions]
    assert numbers == sorted(set(numbers))
    assert 1 <= numbers[0] <= numbers[-1] <= 30


def test_no_face_is_no_label_and_no_probability(client: httpx.Client) -> None:
    answer = post(client, "/predict", picture(320, 240)).json()
    assert (answer["label"], answer["reason"]) == ("UNCERTAIN", "no_face")
    assert answer["confidence"] is answer["probabilities"]["FAKE"] is answer["probabilities"]["REAL"] is None


def test_small_faces_are_uncertain_with_the_reason(client: httpx.Client) -> None:
    import cv2
    import numpy as np

    portrait = cv2.imdecode(np.frombuffer(PORTRAIT, np.uint8), cv2.IMREAD_COLOR)
    small = cv2.resize(portrait, None, fx=0.3, fy=0.3, interpolation=cv2.INTER_AREA)
    answer = post(client, "/predict", bytes(cv2.imencode(".png", small)[1]), "a.png").json()
    assert (answer["label"], answer["reason"]) == ("UNCERTAIN", "face_too_small")


def test_a_heat_map_has_the_stored_shape(client: httpx.Client) -> None:
    answer = post(client, "/gradcam", PORTRAIT)
    assert answer.status_code == 200
    assert deviations(golden("gradcam"), answer.json()) == []
    answer_as(GradcamAnswer, answer.json())


@pytest.mark.parametrize(
    ("content", "name", "status", "code"),
    [
        (picture(320, 240), "a.jpg", 422, "no_face"),
        (b"", "a.jpg", 400, "empty_file"),
        (PORTRAIT[:5000], "a.jpg", 422, "truncated"),
        (b"#!/bin/sh", "a.jpg", 415, "unsupported_media"),
        (b"x" * (4 * 2**20 + 1), "a.jpg", 413, "too_large"),
    ],
)
def test_refused_heat_maps(client: httpx.Client, content: bytes, name: str, status: int, code: str) -> None:
    answer = post(client, "/gradcam", content, name)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert deviations(golden("error"), answer.json()) == []


def test_a_video_has_no_heat_map(client: httpx.Client, clip: bytes) -> None:
    answer = post(client, "/gradcam", clip, "a.mp4")
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "not_a_picture")


def test_the_same_bytes_are_answered_from_the_cache(client: httpx.Client) -> None:
    content = fresh(PORTRAIT)
    answers = [post(client, "/predict", content, name) for name in ("a.jpg", "b.jpg", "c.png")]
    assert [answer.headers["x-cache"] for answer in answers] == ["MISS", "HIT", "HIT"]
    bodies = [{k: v for k, v in answer.json().items() if k != "processing_time"} for answer in answers]
    assert bodies[0] == bodies[1] == bodies[2]
    assert post(client, "/gradcam", content).headers["x-cache"] == "MISS"
    assert post(client, "/gradcam", content).headers["x-cache"] == "HIT"


def test_concurrent_identical_uploads_share_one_job(rig: Rig) -> None:
    content = fresh(PORTRAIT)

    def ask(_: int) -> str:
        with rig.client() as client:
            answer = post(client, "/predict", content)
            assert answer.status_code == 200
            return answer.headers["x-cache"]

    with ThreadPoolExecutor(6) as threads:
        outcomes = sorted(threads.map(ask, range(6)))
    assert outcomes == ["HIT"] * 5 + ["MISS"]


def test_a_video_can_be_a_job(client: httpx.Client, clip: bytes) -> None:
    accepted = post(client, "/predict?async=1", clip, "a.mp4")
    assert accepted.status_code == 202
    assert deviations(golden("job"), accepted.json()) == []
    assert accepted.headers["location"] == accepted.json()["status_url"]
    done = answer_as(JobAnswer, finished(client, accepted.json()))
    assert done.state == "done"
    assert answer_as(VideoAnswer, done.result).reason == "no_face"


def test_a_job_fails_as_the_request_would(client: httpx.Client, clip: bytes) -> None:
    failed = finished(client, post(client, "/predict?async=1", clip[: len(clip) // 2], "a.mp4").json())
    assert (failed["state"], failed["error"]["status"], failed["error"]["code"]) == ("failed", 422, "truncated")


def test_an_upload_is_refused_before_there_is_a_job(client: httpx.Client) -> None:
    answer = post(client, "/predict?async=1", b"text", "a.mp4")
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "unsupported_media")


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_an_unknown_job_is_a_404(client: httpx.Client, method: str) -> None:
    answer = client.request(method, "/v1/jobs/nothing")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "job_unknown")


def test_a_job_can_be_cancelled(rig: Rig, client: httpx.Client) -> None:
    job = post(client, "/predict?async=1", fresh(SAMPLE_CALL), "a.mp4").json()
    assert client.delete(job["status_url"]).status_code == 204
    assert client.get(job["status_url"]).status_code == 404
    until(lambda: rig.call(lambda: rig.context.spool.free_slots) == 8)


def test_a_job_belongs_to_its_key(keyed_rig: Rig, clip: bytes) -> None:
    with keyed_rig.client(KEY) as owner, keyed_rig.client(OTHER_KEY) as other:
        job = post(owner, "/predict?async=1", clip, "a.mp4").json()
        assert other.get(job["status_url"]).status_code == 404
        assert other.delete(job["status_url"]).status_code == 404
        assert finished(owner, job)["state"] == "done"


def test_a_client_that_disconnects_frees_the_worker(rig: Rig) -> None:
    import httpx

    with rig.client() as client, pytest.raises(httpx.ReadTimeout):
        client.post("/predict", files={"file": ("a.mp4", fresh(SAMPLE_CALL))}, timeout=httpx.Timeout(60, read=0.3))
    until(lambda: rig.call(lambda: rig.context.spool.free_slots) == 8)
    with rig.client() as client:
        assert post(client, "/predict", fresh(PORTRAIT)).status_code == 200


def test_uploads_above_the_limit_get_503_with_retry_after() -> None:
    with running_rig(max_uploads=1) as rig, rig.client() as client:
        job = post(client, "/predict?async=1", SAMPLE_CALL, "a.mp4").json()
        full = post(client, "/predict", PORTRAIT)
        assert (full.status_code, full.json()["error"]["code"]) == (503, "uploads_full")
        assert int(full.headers["retry-after"]) > 0
        client.delete(job["status_url"])
        until(lambda: post(client, "/predict", PORTRAIT).status_code == 200)


def test_without_a_model_nothing_is_labelled(tmp_path: Path) -> None:
    with running_rig(model_path=tmp_path) as rig, rig.client() as client:
        health = client.get("/health").json()
        assert health["model_loaded"] is False
        assert health["problem"]
        assert str(tmp_path.parent) not in health["problem"]
        answer = post(client, "/predict", PORTRAIT)
        assert answer.status_code == 200
        assert (answer.json()["label"], answer.json()["reason"]) == ("UNCERTAIN", "no_model")
        assert answer.json()["probabilities"] == {"REAL": None, "FAKE": None}
        assert deviations(golden("predict_image"), answer.json()) == []
        explained = post(client, "/gradcam", PORTRAIT)
        assert (explained.status_code, explained.json()["error"]["code"]) == (503, "no_model")
        assert post(client, "/predict", PORTRAIT).headers["x-cache"] == "MISS"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("GET", "/predict", 405, "method_not_allowed"),
        ("PUT", "/health", 405, "method_not_allowed"),
        ("POST", "/predict?async=perhaps", 422, "invalid_request"),
        ("POST", "/predict", 415, "expected_multipart"),
        ("GET", "/v1/streams/" + "x" * 300, 422, "invalid_request"),
    ],
)
def test_framework_errors_have_the_same_format(
    client: httpx.Client, method: str, path: str, status: int, code: str
) -> None:
    answer = client.request(method, path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert deviations(golden("error"), answer.json()) == []


def test_the_description_of_the_api_is_there(client: httpx.Client) -> None:
    described = client.get("/openapi.json").json()
    assert {"/health", "/predict", "/gradcam", "/v1/streams", "/v1/jobs/{job_id}", "/readyz"} <= set(described["paths"])
    known = described["components"]["schemas"]
    assert [name for name in _references(described) if name not in known] == []
    upload = described["paths"]["/predict"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert upload["properties"]["file"]["format"] == "binary"


def test_every_json_answer_is_described(client: httpx.Client) -> None:
    described = client.get("/openapi.json").json()
    bare = [
        f"{method} {path} {status}"
        for path, methods in described["paths"].items()
        for method, told in methods.items()
        for status, answer in told["responses"].items()
        if answer.get("content", {}).get("application/json", {}).get("schema", {"": ""}) == {}
    ]
    assert bare == ["post /v1/streams 201", "post /v1/webhooks/dead/{letter_id}/retry 202"]    # the second has no body


def _references(node: object) -> Iterator[str]:
    """Names of the components that a description refers to."""
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"].removeprefix("#/components/schemas/")
        for child in node.values():
            yield from _references(child)
    elif isinstance(node, list):
        for child in node:
            yield from _references(child)


def until(condition: Callable[[], bool], timeout_s: float = 30) -> None:
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.05)
