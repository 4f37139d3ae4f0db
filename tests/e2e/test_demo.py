"""`deepguard demo` as a process: the sample call gets verdicts, and no process survives the end."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import httpx
import psutil
import pytest

from tests.api.rig import running_rig
from tests.e2e.whip_support import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Demo(NamedTuple):
    """A running demo and everything that it started."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    with started_demo(tmp_path) as running:
        yield running


@contextmanager
def started_demo(folder: Path) -> Iterator[Demo]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    log = folder / "demo.log"
    command = [sys.executable, "-m", "api.cli", "demo", "--port", str(port), "--no-browser"]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
    running = Demo(process, f"http://127.0.0.1:{port}", log)
    try:
        with httpx.Client(base_url=running.url, trust_env=False) as client:
            wait_for(Patient(client), "sample-call", lambda info: info["verdict"] is not None, 90)      # type: ignore[arg-type]
        yield running
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(40)


class Patient:
    """A client for a service that may not be there yet."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def get(self, path: str) -> httpx.Response:
        try:
            return self._client.get(path)
        except httpx.TransportError:
            return httpx.Response(503)


def gone(family: list[psutil.Process], within_s: float) -> bool:
    end_s = time.monotonic() + within_s
    while time.monotonic() < end_s:
        if not any(member.is_running() and member.status() != psutil.STATUS_ZOMBIE for member in family):
            return True
        time.sleep(0.1)
    return False


def test_an_interrupt_ends_it_in_order_with_all_its_processes(demo: Demo) -> None:
    info = httpx.get(f"{demo.url}/v1/streams/sample-call", trust_env=False).json()
    assert info["sample"]
    family = demo.family()
    assert len(family) >= 3         # service, its worker, publisher
    demo.process.send_signal(signal.SIGINT)
    assert demo.process.wait(30) == 0
    assert gone(family, 5)
    assert demo.url in demo.log.read_text()


def test_nothing_survives_when_it_is_killed(demo: Demo) -> None:
    family = demo.family()
    demo.process.kill()
    assert gone(family, 30)


def test_a_port_in_use_is_reported(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "api.cli", "demo", "--port", port, "--no-browser"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr


def test_it_can_publish_to_a_service_that_runs_already() -> None:
    with running_rig() as rig, rig.client() as client:
        command = [sys.executable, "-m", "api.cli", "demo", "--url", rig.url, "--no-browser"]
        with subprocess.Popen(command) as process:
            wait_for(client, "sample-call", lambda info: info["sample"], 60)
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        wait_for(client, "sample-call", lambda info: info["state"] == "ended")
        assert client.get("/livez").status_code == 200
