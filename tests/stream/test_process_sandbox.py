"""Sandbox of the demuxer process, tested in a child process."""

from __future__ import annotations

import os
import subprocess
import sys

TRY = """
import socket, sys
from stream.process_sandbox import confine, deny_outside_access
listener = socket.create_server(("127.0.0.1", 0))
confine(0, 32)
before = deny_outside_access()
refused = []
for name, attempt in {
    "file": lambda: open("/etc/hostname"), "socket": lambda: socket.socket(),
    "program": lambda: __import__("os").execv("/bin/true", ["true"]),
}.items():
    try:
        attempt()
    except PermissionError:
        refused.append(name)
print(before, *refused)
"""


def test_files_sockets_and_programs_are_refused() -> None:
    ran = subprocess.run((sys.executable, "-c", TRY), capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.split() == ["True", "file", "socket", "program"], ran.stderr
    assert os.uname().machine in ("x86_64", "aarch64")
