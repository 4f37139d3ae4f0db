"""How commands end."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import atexit, sys
from api.cli.terminal import run_and_leave

def work():
    sys.stdout.write("said, ")
    if sys.argv[1] == "refused":
        raise LookupError("not here")

atexit.register(print, "wound down")
run_and_leave(work, LookupError)
"""


def ended(program: str, how: str) -> subprocess.CompletedProcess[str]:
    """Runs with text in the output buffer, as with default buffering."""
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run(
        [sys.executable, "-c", program, how], env=buffered, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(("how", "status", "told"), [("done", 0, ""), ("refused", 2, "not here\n")])
def test_leaving_keeps_status_and_words_and_never_winds_down(how: str, status: int, told: str) -> None:
    left = ended(PROGRAM, how)
    assert (left.returncode, left.stdout, left.stderr) == (status, "said, ", told)


def test_a_mistake_of_ours_is_not_hidden() -> None:
    left = ended(PROGRAM.replace("run_and_leave(work, LookupError)", "run_and_leave(work, OSError)"), "refused")
    assert left.returncode == 1
    assert "LookupError: not here" in left.stderr
