"""How much of a wait is the machine's: time in which somebody was ready to run and others had the cores."""

from __future__ import annotations

import threading
from pathlib import Path


def queued_s(pid: int | None = None) -> float:
    """How long this thread, or the thread of another process that waited most, stood in the queue since its start.

    Sleeping, waiting for I/O and computing do not count. 0 where the kernel does not count, or the process is gone.
    """
    tasks = Path(f"/proc/{pid}/task") if pid is not None else Path("/proc/self/task")
    threads = [tasks / str(threading.get_native_id())] if pid is None else list(_listed(tasks))
    return max(map(_queued_s, threads), default=0.0)


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
