"""Upload spool: a private folder that holds a bounded number of uploads until each is discarded.

The service creates the folder (mode 0700) at start and removes it at shutdown. A killed process leaves its folder
behind; the next start removes every spool folder whose lock file is free.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import structlog
from starlette.requests import Request

from api.errors import Busy, UploadRefused
from api.uploads.multipart import FilePartReader, ReceivedFile
from stream.file_type import KIND_NAMES, sniff

log = structlog.get_logger(__name__)

# What file pickers offer; the content of a file decides, not its name.
PICTURE_EXTENSIONS = (
    ".jpg", ".jpeg", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif",
)  # fmt: skip
VIDEO_EXTENSIONS = (
    ".mp4", ".m4v", ".mov", ".3gp", ".avi", ".mkv", ".webm", ".ts", ".m2ts", ".mts", ".mpg", ".mpeg", ".flv",
)  # fmt: skip
FORM_OVERHEAD_BYTES = 64 * 1024

_PREFIX = "deepguard-spool-"
_LOCK = "lock"
_BATCH_BYTES = 256 * 1024
_RETRY_AFTER_S = 5


@dataclass(frozen=True)
class Upload:
    """One file on disk. Its owner must call `discard`, also after an error; `discard` is idempotent."""

    path: Path
    size_bytes: int
    sha256: str
    file_type: Literal["image", "video"]
    spool: Spool

    def discard(self) -> None:
        self.spool.release(self.path)


class Spool:
    """The spool folder and its slots. Belongs to one event loop; disk writes run in threads."""

    def __init__(self, parent: Path | None, slots: int, max_file_bytes: int) -> None:
        self._parent = parent or Path(tempfile.gettempdir())
        self._slots = slots
        self._max_file_bytes = max_file_bytes
        self._held: set[Path] = set()
        self._folder: Path | None = None
        self._lock: BinaryIO | None = None

    @property
    def free_slots(self) -> int:
        return self._slots - len(self._held)

    def open(self) -> None:
        """Creates the folder and removes abandoned ones. Blocks briefly. Raises OSError."""
        self._parent.mkdir(parents=True, exist_ok=True)
        for abandoned in self._parent.glob(_PREFIX + "*"):
            _remove_if_abandoned(abandoned)
        self._folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=self._parent))
        self._lock = (self._folder / _LOCK).open("wb")
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def close(self) -> None:
        """Removes the folder with all uploads. Idempotent."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()
        self._folder = self._lock = None
        self._held.clear()

    def release(self, path: Path) -> None:
        if path in self._held:
            self._held.discard(path)
            path.unlink(missing_ok=True)

    async def receive(self, request: Request) -> Upload:
        """Stores the file of a multipart request.

        Raises UploadRefused, Busy, ClientDisconnect; errors leave no file.
        """
        if request.headers.get("content-encoding", "identity") != "identity":
            raise UploadRefused(415, "content_encoding", "the body has a Content-Encoding; send it unencoded")
        path = self._reserve_slot()
        try:
            received = await self._write(request, path)
            return Upload(path, received.size_bytes, received.sha256, _file_type(received), self)
        except BaseException:
            self.release(path)
            raise

    def _reserve_slot(self) -> Path:
        if self._folder is None or self.free_slots <= 0:
            raise Busy("uploads_full", f"{self._slots} uploads are held, which is the limit; try again", _RETRY_AFTER_S)
        path = self._folder / secrets.token_hex(16)
        self._held.add(path)
        return path

    async def _write(self, request: Request, path: Path) -> ReceivedFile:
        file: BinaryIO | None = None
        try:
            file = os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb")
            reader = FilePartReader(request.headers.get("content-type"), file, self._max_file_bytes)
            async for batch in _batches(request.stream()):
                await asyncio.to_thread(reader.feed, batch)
            return await asyncio.to_thread(reader.finish)
        except OSError as error:
            log.error("upload not stored", errno=error.errno)
            raise Busy("storage_failed", "the service cannot store the file now; try again", _RETRY_AFTER_S) from error
        finally:
            if file is not None:
                with suppress(OSError):     # the write has already reported a full disk
                    file.close()


async def _batches(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Joins chunks to 256 KiB batches, to save a thread switch per network packet."""
    waiting = bytearray()
    async for chunk in chunks:
        waiting += chunk
        if len(waiting) >= _BATCH_BYTES:
            yield bytes(waiting)
            waiting.clear()
    if waiting:
        yield bytes(waiting)


def _file_type(received: ReceivedFile) -> Literal["image", "video"]:
    """Returns the file type by content; the name is ignored. Raises UploadRefused for unsupported content."""
    kind = sniff(received.head)
    if kind is None:
        raise UploadRefused(415, "unsupported_media", f"the content is not supported; supported are {KIND_NAMES}")
    return "image" if kind.is_picture else "video"


def _remove_if_abandoned(folder: Path) -> None:
    try:
        with (folder / _LOCK).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
            log.warning("removed abandoned spool folder")
    except OSError:
        return      # in use, or owned by another user
