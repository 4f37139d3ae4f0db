"""What a worker has in its hands, readable by the pool after the worker's death: a few shared bytes.

A worker that crashes in a decoder cannot say on what. It notes the stream or job before it starts on it.
"""

from __future__ import annotations

import mmap
import os

_BYTES = 512


class CrashMarker:
    """A note in shared memory. The pool creates it and reads it; the worker opens it by descriptor and writes it."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._memory = mmap.mmap(fd, _BYTES)

    @classmethod
    def create(cls) -> CrashMarker:
        """Raises OSError."""
        fd = os.memfd_create("in-hand")
        os.ftruncate(fd, _BYTES)
        return cls(fd)

    def note(self, name: str) -> None:
        """Names longer than the space are cut; "" is for nothing."""
        data = name.encode()[: _BYTES - 1]
        self._memory[: len(data) + 1] = data + b"\0"

    def read(self) -> str:
        return bytes(self._memory).split(b"\0", 1)[0].decode(errors="replace")

    def close(self) -> None:
        self._memory.close()
        os.close(self.fd)


def stream_name(stream: str, epoch: int) -> str:
    """How a stream is noted."""
    return f"{epoch}/{stream}"[: _BYTES // 4]
