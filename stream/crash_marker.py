"""Crash marker: names the stream or job that a worker processes, in shared memory that outlives the worker.

A worker that crashes in a decoder cannot report the cause, so it writes the name before it starts.
"""

from __future__ import annotations

import mmap
import os

_BYTES = 512


class CrashMarker:
    """A name in shared memory. The pool creates and reads it; the worker opens it by file descriptor and writes it."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._memory = mmap.mmap(fd, _BYTES)

    @classmethod
    def create(cls) -> CrashMarker:
        """Creates an empty marker. Raises OSError."""
        fd = os.memfd_create("crash-marker")
        os.ftruncate(fd, _BYTES)
        return cls(fd)

    def note(self, name: str) -> None:
        """Writes a name, truncated to the space; "" means that nothing is being processed."""
        data = name.encode()[: _BYTES - 1]
        self._memory[: len(data) + 1] = data + b"\0"

    def read(self) -> str:
        return bytes(self._memory).split(b"\0", 1)[0].decode(errors="replace")

    def close(self) -> None:
        self._memory.close()
        os.close(self.fd)


def stream_name(stream: str, epoch: int) -> str:
    """Returns the marker name of a stream."""
    return f"{epoch}/{stream}"[: _BYTES // 4]
