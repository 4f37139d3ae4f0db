"""How much of a wait is the machine's: time in which somebody was ready to run and others had the cores."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

HOGS = 8


def queued_s(pid: int | None = None) -> float:
    """How long this thread, or the thread of another process that waited most, stood in the queue since its start.

    Sleeping, waiting for I/O and computing do not count. 0 where the kernel does not count, or the process is gone.
    """
    tasks = Path(f"/proc/{pid}/task") if pid is not None else Path("/proc/self/task")
    threads = [tasks / str(threading.get_native_id())] if pid is None else list(_listed(tasks))
    return max(map(_queued_s, threads), default=0.0)


@contextmanager
def crowd(core: int) -> Iterator[None]:
    """Processes that never rest, all on this core."""
    hogs = [subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]) for _ in range(HOGS)]
    try:
        for hog in hogs:
            os.sched_setaffinity(hog.pid, {core})
        yield
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


def _listed(folder: Path) -> tuple[Path, ...]:
    try:
        return tuple(folder.iterdir())
    except FileNotFoundError:
        return ()


def _queued_s(thread: Path) -> float:
    """The kernel's file holds ns on a core, ns in the queue, and the number of turns."""
    try:
        return int((thread / "schedstat").read_text().split()[1]) / 1e9
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
