"""The service as a process of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import psutil
import pytest

from api.http.listener import listening_socket, url_of

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow

KEY = "a-key-that-is-long-enough"
READY_S = 5.0
CROWDED = 4     # the machine also runs other tests; the bar is for a machine that does not


@contextmanager
def serving(*options: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str, list[str]]]:
    """Process, address and log lines so far of a service that is ready."""
    process = start(*options, **environment)
    assert process.stderr is not None
    lines: list[str] = []
    try:
        for line in process.stderr:
            lines.append(line)
            if found := re.search(r'"url": ?"(http[^"]+)"', line):
                yield process, found[1], lines
                break
        else:
            pytest.fail("".join(lines))
    finally:
        process.terminate()
        process.wait(30)
        process.stderr.close()


def start(*options: str, **environment: str) -> subprocess.Popen[str]:
    base = {n: v for n, v in os.environ.items() if not n.startswith("DEEPGUARD_") or n == "DEEPGUARD_DATABASE_URL"}
    command = [sys.executable, "-m", "api.cli", "serve", "--port", "0", *options]
    settings = {**base, "LOG_DIR": "", **environment}
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env=settings)


def refusal(*options: str, **environment: str) -> tuple[int, str]:
    process = start(*options, **environment)
    _, said = process.communicate(timeout=30)
    return process.returncode, said


@pytest.mark.timeout(120)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_is_ready_soon_and_ends_in_order(number: signal.Signals, tmp_path: Path) -> None:
    started_s = time.monotonic()
    with serving("--workers", "1", DEEPGUARD_SPOOL_DIR=str(tmp_path)) as (process, url, lines):
        assert time.monotonic() - started_s < READY_S * CROWDED
        assert httpx.get(f"{url}/readyz").status_code == 200
        assert "only this machine can use the service" in "".join(lines)
        children = psutil.Process(process.pid).children(recursive=True)
        assert children
        process.send_signal(number)
        assert process.wait(25) == 0
        assert psutil.wait_procs(children, 5)[1] == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.timeout(120)
def test_requests_in_progress_are_answered_before_shutdown() -> None:
    call = (ROOT / "api" / "demo_media" / "sample_call.mp4").read_bytes()
    environment = {"VIDEO_FRAME_COUNT": "32"}       # more than a second of work, and less than the drain time
    with serving("--workers", "1", **environment) as (process, url, _), ThreadPoolExecutor(1) as threads:
        asked = threads.submit(httpx.post, f"{url}/predict", files={"file": ("a.mp4", call)}, timeout=30)
        time.sleep(1.0)
        assert not asked.done()
        process.terminate()
        assert asked.result().status_code == 200
        assert process.wait(25) == 0


@pytest.mark.timeout(120)
def test_serving_never_imports_the_training_stack() -> None:
    """Neither the service nor its workers map TensorFlow, Keras' backends or mtcnn."""
    with serving("--workers", "1") as (process, url, _):
        portrait = (ROOT / "tests" / "media" / "obama.jpg").read_bytes()
        answer = httpx.post(f"{url}/gradcam", files={"file": ("a.jpg", portrait)}, timeout=30)
        assert answer.status_code == 200
        for running in (psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)):
            mapped = " ".join(library.path for library in running.memory_maps())
            packages = set(re.findall(r"site-packages/([^/ ]+)", mapped))
            assert "openvino" in packages or running.pid == process.pid
            assert not packages & {"tensorflow", "h5py", "jaxlib", "torch"}


def test_the_network_face_does_not_import_the_training_stack() -> None:
    program = (
        "import sys, api.launcher, api.cli.main, api.cli.file_scoring, json\n"
        "print(json.dumps(sorted({'tensorflow', 'keras', 'mtcnn', 'openvino', 'cv2'} & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


@pytest.mark.timeout(120)
def test_a_folder_of_uploads_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", Path("/proc/uploads")):
        status, said = refusal("--workers", "1", DEEPGUARD_SPOOL_DIR=str(folder))
        assert status == 2
        assert said.splitlines()[-1].startswith(f"DEEPGUARD_SPOOL_DIR: cannot write to {folder} (")
        assert "Traceback" not in said


@pytest.mark.timeout(120)
def test_a_misspelt_setting_is_told_with_its_nearest_name() -> None:
    with serving("--workers", "1", DEEPGUARD_WORKER="2", DEEPGUARD_QZX="1") as (_, _, lines):
        told = "".join(lines)
    assert "DEEPGUARD_WORKER is no setting and has no effect; did you mean DEEPGUARD_WORKERS?" in told
    assert "DEEPGUARD_QZX is no setting and has no effect; `deepguard serve --help` lists the settings" in told
    assert "DEEPGUARD_DATABASE_URL is no setting" not in told


def test_strangers_are_not_let_in_by_mistake() -> None:
    status, said = refusal(HOST="0.0.0.0")
    assert status == 2
    assert "DEEPGUARD_API_KEYS" in said
    assert "DEEPGUARD_INSECURE=1" in said
    assert "Traceback" not in said


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("environment", "words"),
    [({"DEEPGUARD_INSECURE": "1"}, "any client can use the service"), ({"DEEPGUARD_API_KEYS": KEY}, "")],
)
def test_open_on_purpose(environment: dict[str, str], words: str) -> None:
    with serving("--workers", "1", "--host", "0.0.0.0", **environment) as (_, url, lines):
        assert httpx.get(f"{url}/health").status_code == 200
        expected = 401 if "DEEPGUARD_API_KEYS" in environment else 200
        assert httpx.get(f"{url}/v1/streams").status_code == expected
        assert words in "".join(lines)
        assert KEY not in "".join(lines)


@pytest.mark.parametrize(
    ("environment", "words"),
    [({"DEEPGUARD_HOP_S": "99"}, "DEEPGUARD_HOP_S: expected"), ({"LOG_DIR": "/proc/nowhere"}, "LOG_DIR: ")],
)
def test_an_invalid_setting_ends_start_up_with_one_line(environment: dict[str, str], words: str) -> None:
    status, said = refusal(**environment)
    assert status == 2
    assert said.startswith(words)
    assert len(said.splitlines()) == 1


def test_a_port_in_use_is_reported() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        status, said = refusal("--port", str(port))
    assert status == 2
    assert f"cannot listen on 127.0.0.1:{port}" in said
    assert "Traceback" not in said


def test_the_socket_lets_go_of_peers_that_do_not_read() -> None:
    with listening_socket("127.0.0.1", 0) as listener:
        assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 4000
        assert listener.proto == socket.IPPROTO_TCP
        assert url_of(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_ipv6_addresses_are_shown_as_browsers_want_them() -> None:
    with listening_socket("::1", 0) as listener:
        assert url_of(listener) == f"http://[::1]:{listener.getsockname()[1]}"
    with listening_socket("0.0.0.0", 0) as listener:
        assert url_of(listener).startswith("http://127.0.0.1:")
