"""HLS and files over HTTP: fetches what a sandboxed demuxing process without network access asks for."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING

import httpx
import msgspec

from api.ingest.pull.dialer import basic_login
from api.ingest.pull.errors import PullFailed, PullRefused
from api.ingest.pull.url_policy import parse_media_url
from consumers.outbound_http import OutboundRequest
from stream.demuxer_messages import (
    HEADER,
    MAX_MESSAGE_BYTES,
    Close,
    Data,
    DemuxSettings,
    Finished,
    FromDemuxer,
    Open,
    Opened,
    Packet,
    Read,
    ToDemuxer,
)
from stream.retry_policy import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from api.ingest.pull.dialer import Dialer, Fetched
    from api.ingest.pull.puller import FrameSink
    from api.ingest.pull.url_policy import MediaUrl

_MAX_HANDLES = 16
# A file that is away for a moment is asked for again, for less than the silence that ends an attempt.
_AGAIN = RetryPolicy.exponential(0.5, 2.0)
_AGAIN_WITHIN_S = 8.0
_TEMPORARY = frozenset({"unreachable", "timeout", "server_failed", "host_unknown"})
# So many files of a live playlist may be missing one after another; then the playlist is loaded anew.
_MISSING_IN_A_ROW = 3
_PLAYLIST, _LAST_LINE = b"#EXTM3U", b"#EXT-X-ENDLIST"
_PLAYLIST_BYTES = 2**20
_JUMP_S = 5.0
_LATE_S = 1.0
_from_demuxer = msgspec.msgpack.Decoder(FromDemuxer)


class MediaPacing:
    """Paces frames at the speed of the media. Times in seconds, `now_s` monotonic."""

    def __init__(self) -> None:
        self._offset_s: float | None = None

    def wait_s(self, pts_s: float, now_s: float) -> float:
        """Returns how long to wait before this frame. Restarts after a jump of the media clock or a late frame."""
        if self._offset_s is None or not -_LATE_S < (wait_s := pts_s + self._offset_s - now_s) < _JUMP_S:
            self._offset_s = now_s - pts_s
            return 0.0
        return max(0.0, wait_s)


class _Body:
    """The body of one HTTP response."""

    def __init__(self, fetched: Fetched, stack: AsyncExitStack) -> None:
        self.playlist = b""         # what was read of it, if it is one
        self._stack = stack
        self._parts: AsyncIterator[bytes] = fetched.response.aiter_raw(64 * 1024)
        self._rest = b""
        self._is_new = True

    async def read(self, size: int) -> Data:
        try:
            if not self._rest:
                self._rest = await anext(self._parts, b"")
        except httpx.HTTPError:
            return Data(b"", is_broken=True)
        data, self._rest = self._rest[:size], self._rest[size:]
        if self._is_new or self.playlist:
            self._note_playlist(data)
        return Data(data)

    def _note_playlist(self, data: bytes) -> None:
        is_playlist = self.playlist or data.lstrip(b"\xef\xbb\xbf").startswith(_PLAYLIST)
        if is_playlist and len(self.playlist) < _PLAYLIST_BYTES:
            self.playlist += data
        self._is_new = False

    async def close(self) -> None:
        await self._stack.aclose()


class DemuxedAttempt:
    """One run through an HTTP source. Implements `Attempt` of `api.ingest.pull.puller`."""

    def __init__(self, url: str, dialer: Dialer) -> None:
        self._url = url
        self._dialer = dialer
        self._reached_s = float("-inf")     # of a recording; an attempt continues behind it

    def request_keyframe(self) -> None:
        """No-op: HTTP has no key frame request."""

    async def run(self, frames: FrameSink) -> None:
        async with AsyncExitStack() as stack:
            first = await stack.enter_async_context(self._dialer.fetch(OutboundRequest("GET", self._url)))
            reader, writer = await _start(first.location.url, stack)
            served = _DemuxerRequests(parse_media_url(self._url), first, self._dialer, writer)
            served.resume_s = served.reached_s = self._reached_s
            stack.push_async_callback(served.close)
            try:
                await served.serve(reader, frames)
            finally:
                if served.is_recorded:
                    self._reached_s = served.reached_s


async def _start(url: str, stack: AsyncExitStack) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Starts a process that demuxes `url`; the exit stack kills it."""
    ours, theirs = socket.socketpair()
    with theirs:
        reader, writer = await asyncio.open_connection(sock=ours, limit=MAX_MESSAGE_BYTES)
        stack.callback(writer.close)
        settings = DemuxSettings(socket_fd=theirs.fileno(), parent_pid=os.getpid(), url=url)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "stream.demuxer_process", msgspec.json.encode(settings).decode(),
            pass_fds=(theirs.fileno(),), stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
            env=_environment(),
        )
        stack.push_async_callback(_end, process)
    return reader, writer


async def _end(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        pidfd = os.pidfd_open(process.pid)      # asyncio's own kill can take the exit status away from its watcher
        try:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        finally:
            os.close(pidfd)
    await process.wait()


class _DemuxerRequests:
    """Serves the requests of one demuxing process.

    A missing file of a playlist is skipped and told. `is_recorded`: the media is complete; each attempt gets the same.
    """

    def __init__(self, root: MediaUrl, first: Fetched, dialer: Dialer, writer: asyncio.StreamWriter) -> None:
        self._root = root
        self._first: Fetched | None = first     # already open when the process asks for it
        self._dialer = dialer
        self._writer = writer
        self._bodies: dict[int, _Body] = {}
        self._pace = MediaPacing()
        self._is_broken = False     # the last read was cut off
        self._missing: PullFailed | None = None     # why the last missing file could not be opened
        self._missing_in_a_row = 0
        self._is_playlist = _is_playlist(first)
        self.is_recorded = "content-length" in first.response.headers and not self._is_playlist
        self.resume_s = self.reached_s = float("-inf")      # media time reached before, and now

    async def serve(self, reader: asyncio.StreamReader, frames: FrameSink) -> None:
        """Runs until the process has finished. Raises PullFailed."""
        while True:
            match await _message(reader):
                case Open() as order:
                    self._answer(await self._open(order, frames))
                case Read(handle, size):
                    self._answer(await self._read(handle, size))
                case Close(handle):
                    if (closed := self._bodies.pop(handle, None)) is not None:
                        await closed.close()
                case Packet() as packet:
                    await self._take(packet, frames)
                case Finished(code, message):
                    self._check_end(code, message)
                    return

    async def _take(self, packet: Packet, frames: FrameSink) -> None:
        self._missing_in_a_row = 0
        if packet.pts_s <= self.resume_s:
            return
        self.reached_s = max(self.reached_s, packet.pts_s)
        await asyncio.sleep(self._pace.wait_s(packet.pts_s, time.monotonic()))
        frames.take(packet.codec, packet.payload, packet.pts_s, packet.keyframe, packet.display)

    def _check_end(self, code: str, message: str) -> None:
        """Raises PullFailed unless the media ended by itself, which a live playlist never does."""
        if self._is_broken:
            raise PullFailed("connection_lost", "the source closed the connection before the media ended")
        is_live = self._is_playlist and not self.is_recorded
        if self._missing is not None and (is_live or (code and self._missing_in_a_row)):
            raise PullFailed(self._missing.code, self._missing.message, is_final=self.is_recorded)
        if code:
            raise PullFailed(code, message, is_final=True)

    async def close(self) -> None:
        while self._bodies:
            await self._bodies.popitem()[1].close()

    async def _open(self, order: Open, frames: FrameSink) -> Opened:
        """Opens a URL; a file that is missing is skipped and told.

        Raises PullRefused for a forbidden address, and PullFailed when a live playlist names missing files only.
        """
        if len(self._bodies) >= _MAX_HANDLES:
            raise PullFailed("bad_media", f"the source opens more than {_MAX_HANDLES} files at once", is_final=True)
        stack = AsyncExitStack()
        fetched, self._first = self._first, None
        try:
            if fetched is None:
                fetched = await self._fetch(self._request(order), stack)
        except PullFailed as failed:
            if isinstance(failed, PullRefused) and failed.code != "host_unknown":
                raise
            return self._skip(failed, frames)
        if order.offset and fetched.response.status_code != httpx.codes.PARTIAL_CONTENT:
            await stack.aclose()
            raise PullFailed("range_unsupported", "the playlist has byte ranges, but its server ignores Range", True)
        self._bodies[order.handle] = _Body(fetched, stack)
        headers = fetched.response.headers
        length = headers.get("content-length", "")
        size = int(length) + order.offset if length.isdecimal() else -1
        return Opened(True, size, headers.get("accept-ranges") == "bytes")

    async def _read(self, handle: int, size: int) -> Data:
        body = self._bodies.get(handle)
        data = Data(b"", is_broken=True) if body is None else await body.read(size)
        self._is_broken = data.is_broken
        if body is not None and _LAST_LINE in body.playlist:
            self.is_recorded = True
        return data

    async def _fetch(self, request: OutboundRequest, stack: AsyncExitStack) -> Fetched:
        """Sends a request; repeats it for a few seconds while the server is away. Raises PullFailed."""
        end_s = time.monotonic() + _AGAIN_WITHIN_S
        failures = 0
        while True:
            try:
                return await stack.enter_async_context(self._dialer.fetch(request))
            except PullFailed as failed:
                failures += 1
                wait_s = _AGAIN.delay_s(failures)
                if failed.code not in _TEMPORARY or time.monotonic() + wait_s > end_s:
                    raise
            await asyncio.sleep(wait_s)

    def _skip(self, failed: PullFailed, frames: FrameSink) -> Opened:
        """Reports a missing file to the demuxer. Raises PullFailed for one too many in a row of a live playlist."""
        self._missing = failed
        self._missing_in_a_row += 1
        frames.missing(failed.code, failed.message)
        if self._missing_in_a_row >= _MISSING_IN_A_ROW and not self.is_recorded:
            raise PullFailed(failed.code, failed.message)
        return Opened(False)

    def _request(self, order: Open) -> OutboundRequest:
        """Builds the request; the login of the source goes to its own host only."""
        last = str(order.end - 1) if order.end >= 0 else ""
        headers = {"Range": f"bytes={order.offset}-{last}"} if order.offset or last else {}
        location = self._dialer.policy.check(order.url)
        if self._root.user and location[:3] == self._root[:3]:
            headers["Authorization"] = basic_login(self._root)
        return OutboundRequest("GET", location.url, headers)

    def _answer(self, message: ToDemuxer) -> None:
        body = msgspec.msgpack.encode(message)
        self._writer.write(HEADER.pack(len(body)) + body)


async def _message(reader: asyncio.StreamReader) -> FromDemuxer:
    """Reads the next message. Raises PullFailed if the process is gone or the message is malformed."""
    try:
        (size,) = HEADER.unpack(await reader.readexactly(HEADER.size))
        if size > MAX_MESSAGE_BYTES:
            raise PullFailed("bad_media", f"a frame has more than {MAX_MESSAGE_BYTES} bytes", is_final=True)
        message: FromDemuxer = _from_demuxer.decode(await reader.readexactly(size))
    except (asyncio.IncompleteReadError, ConnectionError):
        raise PullFailed("bad_media", "the media of the source cannot be read", is_final=True) from None
    except msgspec.DecodeError:
        raise PullFailed("bad_media", "the demuxer sent a malformed message", is_final=True) from None
    return message


def _is_playlist(fetched: Fetched) -> bool:
    """Whether the response is a playlist, by its name and type; the body is not read yet."""
    kind = fetched.response.headers.get("content-type", "").lower()
    return "mpegurl" in kind or ".m3u8" in fetched.location.url.lower()


def _environment() -> dict[str, str]:
    """Returns an environment without the service's keys and addresses."""
    return {
        "PATH": os.defpath, "LANG": "C.UTF-8",
        "PYTHONPATH": os.pathsep.join(os.path.abspath(entry) for entry in sys.path),
    }
