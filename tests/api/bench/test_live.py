"""`deepguard bench live` as a process. `tests/bench` checks the measured values."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]


def command(folder: Path, *arguments: str) -> list[str]:
    result = str(folder / "out" / "live.json")
    return [sys.executable, "-m", "api.cli", "bench", "live", "--no-naive", "--json", result, *arguments]


def bench_live(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(folder, *arguments), capture_output=True, text=True, timeout=280, check=False)


def test_two_calls_are_measured_from_both_ends(tmp_path: Path) -> None:
    done = bench_live(tmp_path, "--calls", "2", "--seconds", "6")
    assert done.returncode == 0, done.stderr
    assert "2 calls of 360p30 VP8" in done.stdout
    figures = json.loads((tmp_path / "out" / "live.json").read_text())
    assert figures["calls"] == 2
    assert figures["cut_off"] == []
    assert figures["verdicts"] >= 8
    assert len(figures["sampling_by_call"]) == 2
    assert 0 < figures["sampling_min"] <= figures["sampling"] <= 1
    ages, travelled = figures["verdict_age_ms"], figures["sent_to_read_ms"]
    assert 0 < ages["p50"] <= ages["p95"] <= ages["p99"]
    assert travelled["p50"] > 0
    assert abs(travelled["p50"] - ages["p50"]) < 250        # the same way, by two clocks
    assert 40 < figures["frames_per_s"] < 80
    assert figures["media_mbit_per_s"] == pytest.approx(1.0, abs=0.4)
    assert all(figures["cpu"][part] > 0 for part in ("api", "workers", "publishers", "bench"))
    assert figures["rss_mb"]["workers"] > 100


def test_nothing_survives_when_it_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(command(tmp_path, "--calls", "2", "--seconds", "60")) as bench:
        watched = psutil.Process(bench.pid)
        end_s = time.monotonic() + 60
        while len(family := watched.children(recursive=True)) < 3 and time.monotonic() < end_s:
            time.sleep(0.1)
        bench.kill()
    assert len(family) >= 3         # service, worker, publishers
    _, alive = psutil.wait_procs(family, timeout=30)
    assert not alive


def test_a_failed_service_start_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPGUARD_WINDOW_S", "0")
    done = bench_live(tmp_path, "--calls", "1", "--seconds", "2")
    assert done.returncode == 2
    assert "DEEPGUARD_WINDOW_S" in done.stderr
    assert "Traceback" not in done.stderr
