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
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import structlog
from starlette.requests import Request

from api.errors import Busy, UploadRefused
from api.uploads.bodies import JSON_TYPE, BodyReader, Fetch, RawBodyReader, is_raw, json_file, media_type
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


@dataclass(slots=True)
class _Arrival:
    """An upload that is being received. `task` is that of its request."""

    caller: str
    path: Path
    task: asyncio.Task[object]
    began_s: float
    size_bytes: int = 0
    is_dropped: bool = False

    def bytes_per_s(self, now_s: float) -> float:
        return self.size_bytes / max(now_s - self.began_s, 1e-3)


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
    """The spool folder and its slots. Belongs to one event loop; disk writes run in threads.

    Where no slot is free, the slowest arriving upload of the caller with the most of them gives way to a caller that
    holds at least two fewer.
    """

    def __init__(self, parent: Path | None, slots: int, max_file_bytes: int) -> None:
        self._parent = parent or Path(tempfile.gettempdir())
        self._slots = slots
        self._max_file_bytes = max_file_bytes
        self._held: dict[Path, str] = {}        # the caller of each
        self._arrivals: list[_Arrival] = []
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
            del self._held[path]
            path.unlink(missing_ok=True)

    async def receive(self, request: Request, caller: str = "", fetch: Fetch | None = None) -> Upload:
        """Stores the file of a request: of a form, the body itself, or what JSON holds or, by `fetch`, names.

        `caller` is the key or address that slots are shared by.

        Raises UploadRefused, Busy, ClientDisconnect; errors leave no file.
        """
        if request.headers.get("content-encoding", "identity") != "identity":
            raise UploadRefused(415, "content_encoding", "the body has a Content-Encoding; send it unencoded")
        path, task = self._reserve_slot(caller), asyncio.current_task()
        assert task is not None, "runs in a task"
        arrival = _Arrival(caller, path, task, time.monotonic())
        self._arrivals.append(arrival)
        try:
            received = await self._write(request, arrival, fetch)
            return Upload(arrival.path, received.size_bytes, received.sha256, _file_type(received), self)
        except asyncio.CancelledError:
            self.release(arrival.path)
            if not arrival.is_dropped or arrival.task.uncancel():
                raise
            message = "this upload was the slowest of its client, and gave way to another client; try again"
            raise Busy("uploads_full", message, _RETRY_AFTER_S) from None
        except BaseException:
            self.release(arrival.path)
            raise
        finally:
            self._arrivals.remove(arrival)

    def _reserve_slot(self, caller: str = "") -> Path:
        if self._folder is None or (self.free_slots <= 0 and not self._make_room(caller)):
            raise Busy("uploads_full", f"{self._slots} uploads are held, which is the limit; try again", _RETRY_AFTER_S)
        path = self._folder / secrets.token_hex(16)
        self._held[path] = caller
        return path

    def _make_room(self, caller: str) -> bool:
        """Drops an arriving upload in favour of `caller`; returns whether a slot is free now."""
        held = Counter(self._held.values())
        dropped = [arrival for arrival in self._arrivals if held[arrival.caller] >= held[caller] + 2]
        if not dropped:
            return False
        most = max(held[arrival.caller] for arrival in dropped)
        now_s = time.monotonic()
        slowest = min(
            (arrival for arrival in dropped if held[arrival.caller] == most),
            key=lambda arrival: arrival.bytes_per_s(now_s),
        )
        slowest.is_dropped = True
        slowest.task.cancel()
        self.release(slowest.path)
        reason = "slowest of the client with the most uploads"
        log.warning("upload dropped", reason=reason, size_bytes=slowest.size_bytes)
        return True

    async def _write(self, request: Request, arrival: _Arrival, fetch: Fetch | None) -> ReceivedFile:
        file: BinaryIO | None = None
        try:
            file = os.fdopen(os.open(arrival.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb")
            reader, chunks = self._source(request, file, fetch)
            async for batch in _batches(_counted(chunks, arrival)):
                await asyncio.to_thread(reader.feed, batch)
            return await asyncio.to_thread(reader.finish)
        except OSError as error:
            log.error("upload not stored", errno=error.errno)
            raise Busy("storage_failed", "the service cannot store the file now; try again", _RETRY_AFTER_S) from error
        finally:
            if file is not None:
                with suppress(OSError):     # the write has already reported a full disk
                    file.close()


    def _source(
        self, request: Request, file: BinaryIO, fetch: Fetch | None
    ) -> tuple[BodyReader, AsyncIterator[bytes]]:
        """Returns the reader for this type of body, and the bytes that it reads."""
        content_type = request.headers.get("content-type") or ""
        if fetch is not None and media_type(content_type) == JSON_TYPE:
            return RawBodyReader(file, self._max_file_bytes), json_file(request, fetch)
        if is_raw(content_type):
            return RawBodyReader(file, self._max_file_bytes), request.stream()
        return FilePartReader(content_type, file, self._max_file_bytes), request.stream()


async def _counted(chunks: AsyncIterator[bytes], arrival: _Arrival) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        arrival.size_bytes += len(chunk)
        yield chunk


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
