"""Uploads that are no form: the file itself, and JSON that holds it or names its URL."""

from __future__ import annotations

import asyncio
import base64
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.api.ingest.pull.support import SAMPLE, remux, site_of
from tests.api.rig import Rig, running_rig
from tests.api.uploads.test_spool import JPEG

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def pulling_rig() -> Iterator[Rig]:
    """A service that may fetch from this machine."""
    with running_rig(pull_networks="127.0.0.0/8", max_file_size_bytes=2 * 2**20) as rig:
        yield rig


@pytest.fixture
def client(pulling_rig: Rig) -> Iterator[httpx.Client]:
    with pulling_rig.client() as client:
        yield client


@contextmanager
def folder_served(folder: Path) -> Iterator[str]:
    """The URL of a folder over HTTP, served by a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    site = site_of(folder)
    served = asyncio.run_coroutine_threadsafe(site.__aenter__(), loop).result(30)
    try:
        yield served.url
    finally:
        asyncio.run_coroutine_threadsafe(site.__aexit__(None, None, None), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()


def verdict(answer: httpx.Response) -> dict[str, object]:
    assert answer.status_code == 200, answer.text
    return {name: value for name, value in answer.json().items() if name != "processing_time"}


@pytest.mark.parametrize("kind", ["image/jpeg", "IMAGE/PNG; q=1", "application/octet-stream", "video/mp4"])
def test_the_file_itself_gets_the_verdict_of_a_form(client: httpx.Client, kind: str) -> None:
    """The content decides, not the type that a client gives."""
    form = verdict(client.post("/predict", files={"file": ("a.jpg", JPEG)}))
    assert verdict(client.post("/predict", content=JPEG, headers={"Content-Type": kind})) == form


def test_json_holds_a_file_or_names_its_url(client: httpx.Client, tmp_path: Path) -> None:
    form = verdict(client.post("/predict", files={"file": ("a.jpg", JPEG)}))
    assert verdict(client.post("/predict", json={"data": base64.b64encode(JPEG).decode()})) == form
    (tmp_path / "a.jpg").write_bytes(JPEG)
    remux(tmp_path / "clip.mp4", 1.0)
    with folder_served(tmp_path) as url:
        assert verdict(client.post("/predict", json={"url": f"{url}/a.jpg"})) == form
        assert verdict(client.post("/predict", json={"url": f"{url}/clip.mp4"}))["file_type"] == "video"
        assert client.post("/gradcam", json={"url": f"{url}/a.jpg"}).status_code == 200
        missing = client.post("/predict", json={"url": f"{url}/none.jpg"})
        assert (missing.status_code, missing.json()["error"]["code"]) == (422, "not_found")
        (tmp_path / "large.mp4").write_bytes(SAMPLE.read_bytes() * 3)
        large = client.post("/predict", json={"url": f"{url}/large.mp4"})
        assert (large.status_code, large.json()["error"]["code"]) == (413, "too_large")


@pytest.mark.parametrize(("url", "code"), [
    ("http://10.0.0.1/a.jpg", "address_not_allowed"), ("http://169.254.169.254/latest", "address_not_allowed"),
    ("rtsp://127.0.0.1/a", "scheme_not_allowed"), ("file:///etc/hostname", "scheme_not_allowed"),
    ("no url at all", "bad_url"),
])  # fmt: skip
def test_urls_are_fetched_under_the_policy_of_pulled_sources(client: httpx.Client, url: str, code: str) -> None:
    answer = client.post("/predict", json={"url": url})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, code)


@pytest.mark.parametrize(("body", "status", "code"), [
    (b"", 400, "bad_json"), (b"[]", 400, "bad_json"), (b"{}", 400, "bad_json"), (b'{"data": 1}', 400, "bad_json"),
    (b'{"data": "QQ==", "url": "http://x/"}', 400, "bad_json"), (b'{"data": "no base64"}', 400, "bad_base64"),
    (b'{"datum": "QQ=="}', 400, "bad_json"), (b"\xff", 400, "bad_json"),
    (b'{"data": "QUJD"}', 415, "unsupported_media"),
])  # fmt: skip
def test_json_that_makes_no_sense_is_refused(client: httpx.Client, body: bytes, status: int, code: str) -> None:
    answer = client.post("/predict", content=body, headers=JSON)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_bodies_keep_the_limits_of_forms(pulling_rig: Rig, client: httpx.Client) -> None:
    raw = {"Content-Type": "image/jpeg"}
    assert client.post("/predict", content=b"", headers=raw).json()["error"]["code"] == "empty_file"
    assert client.post("/predict", content=b"no picture", headers=raw).status_code == 415
    assert client.post("/predict", content=JPEG * 100, headers=raw).json()["error"]["code"] == "too_large"
    assert client.post("/predict", content=JPEG, headers={"Content-Type": "text/plain"}).status_code == 415
    assert pulling_rig.call(lambda: pulling_rig.context.spool.free_slots) == 8
