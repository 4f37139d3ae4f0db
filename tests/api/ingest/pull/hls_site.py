"""An HLS server on loopback whose files can be missing, forbidden or broken, and which can go away."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

SEGMENT_S = 0.5
WINDOW = 4      # segments in a live playlist


@dataclass
class HlsSite:
    """Serves `folder`, and `/live.m3u8`, a live playlist over its segments `call<n>.ts`.

    `status_of` gives the status of a target (path and query); other than 200, the file is not sent. `token` is the
    query of the segments in the live playlist.
    """

    folder: Path
    count: int
    status_of: Callable[[str], int] = lambda target: 200
    token: str = ""
    asked: list[str] = field(default_factory=list)
    port: int = 0
    _began_s: float = field(default_factory=time.monotonic)
    _server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuses connections from now on."""
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        target = head.split()[1]
        self.asked.append(target)
        status, body = self.status_of(target), b""
        if status == 200:
            path = urlsplit(target).path.lstrip("/")
            body = self._live() if path == "live.m3u8" else (self.folder / path).read_bytes()
        writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (status, len(body)) + body)
        await writer.drain()
        writer.close()

    def _live(self) -> bytes:
        newest = min(self.count - 1, WINDOW - 1 + int((time.monotonic() - self._began_s) / SEGMENT_S))
        first = max(0, newest - WINDOW + 1)
        lines = ["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-TARGETDURATION:1", f"#EXT-X-MEDIA-SEQUENCE:{first}"]
        for number in range(first, newest + 1):
            lines += [f"#EXTINF:{SEGMENT_S},", f"call{number}.ts{self.token}"]
        return "\n".join([*lines, ""]).encode()


@asynccontextmanager
async def hls_site(folder: Path, count: int) -> AsyncIterator[HlsSite]:
    site = HlsSite(folder, count)
    await site.start()
    try:
        yield site
    finally:
        await site.stop()
