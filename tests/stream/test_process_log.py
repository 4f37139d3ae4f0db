from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

SECRET = "hush-hush"
URL = f"https://me:{SECRET}@a.test/x?token={SECRET}"
KINDS = {
    "a warning": "warnings.warn('see ' + url)",
    "an exception in a thread": "t = threading.Thread(target=lambda: [][url]); t.start(); t.join()",
    "an exception in a finalizer": "x = type('X', (), {'__del__': lambda self: {}[url]})(); del x; gc.collect()",
    "an exception that ends the process": "raise OSError(url)",
    "a line of a library": "logging.getLogger('library').error('cannot open %s', url)",
}
START = {
    "a worker": "from stream.process_log import log_to_stderr; log_to_stderr()",
    "the service": (
        "from api.logging_setup import logging_to; from api.settings.base import Settings; "
        "import contextlib; stack = contextlib.ExitStack(); stack.enter_context(logging_to(Settings(log_dir=''))); "
        "import atexit; atexit.register(stack.close)"
    ),
}


def lines_of(program: str) -> list[dict[str, Any]]:
    """The lines on stderr of a Python process."""
    imports = f"import gc, logging, threading, warnings; url = {URL!r}"
    done = subprocess.run(
        [sys.executable, "-c", f"{imports}; {program}"], capture_output=True, text=True, timeout=60, check=False
    )
    return [json.loads(line) for line in done.stderr.splitlines()]


@pytest.mark.timeout(90)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("process", START)
def test_what_python_prints_is_one_json_line_without_secrets(process: str, kind: str) -> None:
    (line,) = lines_of(f"{START[process]}; {KINDS[kind]}")
    assert {"event", "level", "logger", "timestamp"} <= line.keys()
    assert "a.test" in str(line) or "Error" in str(line)
    assert SECRET not in str(line)
