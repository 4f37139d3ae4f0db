"""Nothing leaves the machine unasked: no DNS query, no connection, no file outside the data folder.

`CI` is removed from the environment of what is run: some libraries keep quiet only where it is set.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SAMPLE_CALL = ROOT / "api" / "demo_media" / "sample_call.mp4"

SERVE = f"""
import signal, subprocess, sys, time, httpx
server = subprocess.Popen([sys.executable, "-m", "api.cli", "serve", "--port", "5055"])
url = "http://127.0.0.1:5055"
for _ in range(300):
    try:
        if httpx.get(url + "/readyz", trust_env=False).status_code == 200:
            break
    except httpx.TransportError:
        pass
    time.sleep(.1)
with open({str(SAMPLE_CALL)!r}, "rb") as media:
    answer = httpx.post(url + "/predict", files={{"file": media}}, timeout=120, trust_env=False)
print(answer.text)
server.send_signal(signal.SIGTERM)
sys.exit(server.wait(60) or answer.status_code != 200)
"""


def run_isolated(home: Path, *command: str) -> dict[str, Any]:
    """Runs `command` with `home` as its home and working folder in a namespace without a way out."""
    home.mkdir(exist_ok=True)
    done = subprocess.run(
        ["unshare", "--mount", "--net", sys.executable, "-m", "tests.e2e.isolated_network", str(home), *command],
        cwd=ROOT, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def files_under(folder: Path) -> set[str]:
    return {path.relative_to(folder).parts[0] for path in folder.rglob("*") if path.is_file()}


def test_an_attempt_to_leave_is_seen(tmp_path: Path) -> None:
    query = "import socket\ntry: socket.getaddrinfo('example.org', 443)\nexcept OSError: pass"
    seen = run_isolated(tmp_path, sys.executable, "-c", query)
    assert seen["left"] == ["17 192.0.2.1:53"]


@pytest.mark.parametrize(
    ("program", "may_write"),
    [
        (("-c", SERVE), {"data", "logs"}),
        (("-m", "api.cli", "score", str(SAMPLE_CALL)), {"data", "logs"}),
        (("-m", "api.cli", "doctor"), {"data", "logs"}),
    ],
    ids=["serve", "score", "doctor"],
)
def test_nothing_leaves(program: tuple[str, ...], may_write: set[str], tmp_path: Path) -> None:
    seen = run_isolated(tmp_path, sys.executable, *program)
    assert seen["status"] == 0, seen["output"]
    assert seen["left"] == []
    assert files_under(tmp_path) <= may_write


@pytest.mark.parametrize(
    "module", ["detector.factory", "stream.worker_main", "consumers.consumer", "detector.training.train"]
)
def test_no_import_leaves_or_writes(module: str, tmp_path: Path) -> None:
    seen = run_isolated(tmp_path, sys.executable, "-c", f"import {module}")
    assert seen["status"] == 0, seen["output"]
    assert seen["left"] == []
    assert files_under(tmp_path) == set()
