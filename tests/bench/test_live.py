"""Limits of `deepguard bench live`, for a machine without other load."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]

CORES = 2       # number that the limits were set for
CALLS = 20
RATIO = 10


def test_twenty_calls_hold_and_the_plain_design_manages_a_tenth_at_most(tmp_path: Path) -> None:
    result = tmp_path / "live.json"
    command = [sys.executable, "-m", "api.cli", "bench", "live", "--calls", str(CALLS), "--json", str(result)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=800, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stderr
    figures = json.loads(result.read_text())
    assert figures["machine"]["cores"] >= CORES
    assert figures["cpu"]["others"] + figures["cpu"]["niced"] < 0.1, "something else ran; the figures say nothing"
    assert figures["cut_off"] == []
    assert figures["verdict_age_ms"]["p95"] <= 500
    assert figures["sampling_min"] >= 0.95
    assert figures["ratio"] >= RATIO
