"""Streams that the real service fetches from servers of other people: GStreamer's RTSP server, nginx with its RTMP
module, fed by FFmpeg, and HLS that FFmpeg made."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from tests.api.ingest.pull.support import remux
from tests.api.rig import Rig, running_rig
from tests.e2e.whip_support import SAMPLE, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx

NGINX = """
load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;
daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;
events {{ worker_connections 64; }}
rtmp {{ access_log off; server {{ listen 127.0.0.1:{port}; application live {{ live on; wait_key on; }} }} }}
"""
LOGIN = ("ann", "hush-hush")


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with running_rig(pull_networks=("127.0.0.1/32",)) as running:
        yield running


@contextmanager
def child(*command: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(command, text=True, **options) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def rtsp_server() -> Iterator[str]:
    """The address without a login."""
    script = ("/usr/bin/python3", "tests/e2e/rtsp_server.py")
    with child(*script, str(SAMPLE.resolve()), *LOGIN, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        assert port, "GStreamer's RTSP server did not start: `make peers`"
        yield f"127.0.0.1:{port}/cam/main"


@contextmanager
def rtmp_server(folder: Path) -> Iterator[str]:
    """A server with one call on it."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=port))
    url = f"rtmp://127.0.0.1:{port}/live/cam"
    with child("nginx", "-p", str(folder), "-c", str(config)):
        wait_for_port(port)
        with child(sys.executable, "-m", "tests.e2e.rtmp_publisher", url, str(SAMPLE)):
            yield url


def wait_for_port(port: int) -> None:
    end_s = time.monotonic() + 30
    while time.monotonic() < end_s:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except ConnectionError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("nginx does not listen: `make peers`")


def judged(client: httpx.Client, stream: str, order: dict[str, str]) -> dict[str, Any]:
    """The stream once it has a few samples; it is stopped."""
    started = client.post("/v1/streams", json={"stream": stream, "call_id": "gate", "participant_id": "ann", **order})
    assert started.status_code == 201, started.text
    assert started.json()["state"] == "waiting"
    info = wait_for(client, stream, lambda info: (info["verdict"] or {"samples": 0})["samples"] >= 3)
    listed = client.get("/v1/streams", params={"call_id": "gate"}).json()
    assert [source["state"] for source in listed["sources"] if source["stream"] == stream] == ["receiving"]
    assert LOGIN[1] not in str(listed)
    assert client.delete(started.headers["location"]).status_code == 204
    assert len(info["verdict"]["faces"]) == 1
    assert wait_for(client, stream, lambda info: info["state"] == "ended")["call_id"] == "gate"
    return info


def test_a_camera_with_a_login_is_judged(rig: Rig) -> None:
    with rtsp_server() as address, rig.client() as client:
        info = judged(client, "camera", {"url": f"rtsp://{':'.join(LOGIN)}@{address}"})
        assert info["source"] == "rtsp"
        wrong = client.post("/v1/streams", json={"stream": "locked", "url": f"rtsp://ann:wrong@{address}"})
        assert wrong.status_code == 201
        failed = wait_for_failure(client, "locked")
        assert failed["problem"]["code"] == "unauthorized"


def test_a_broadcast_is_judged(rig: Rig, tmp_path: Path) -> None:
    with rtmp_server(tmp_path) as url, rig.client() as client:
        assert judged(client, "broadcast", {"url": url})["source"] == "rtmp"


def test_a_playlist_is_judged(rig: Rig, tmp_path: Path) -> None:
    remux(tmp_path / "call.m3u8", 40, hls_time="2", hls_list_size="0")
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, rig.client() as client:
        threading.Thread(target=server.serve_forever).start()
        try:
            url = f"http://127.0.0.1:{server.server_port}/call.m3u8"
            assert judged(client, "playlist", {"url": url})["source"] == "hls"
        finally:
            server.shutdown()


def wait_for_failure(client: httpx.Client, stream: str) -> dict[str, Any]:
    end_s = time.monotonic() + 60
    while time.monotonic() < end_s:
        for source in client.get("/v1/streams").json()["sources"]:
            if source["stream"] == stream and source["state"] == "failed":
                found: dict[str, Any] = source
                return found
        time.sleep(0.05)
    raise AssertionError(f"{stream} did not fail")


def test_addresses_that_may_not_be_fetched_are_refused_at_once(rig: Rig) -> None:
    with rig.client() as client:
        for order, code in (
            ({"url": "http://127.0.0.2/x.mp4"}, "address_not_allowed"),
            ({"url": "file:///etc/passwd"}, "scheme_not_allowed"),
            ({"whep": "rtsp://127.0.0.1/x"}, "scheme_not_allowed"),
            ({"whep": "http://10.0.0.1/w"}, "address_not_allowed"),
            ({"url": "http://127.0.0.1/x", "whep": "http://127.0.0.1/x"}, "invalid_request"), ({}, "invalid_request"),
            ({"url": "http://127.0.0.1/x", "token": "t"}, "invalid_request"),
        ):
            answer = client.post("/v1/streams", json={"stream": "refused", **order})
            assert (answer.status_code, answer.json()["error"]["code"]) == (422, code)
        assert all(source["stream"] != "refused" for source in client.get("/v1/streams").json()["sources"])
