"""SIGTERM under live calls: every sample that was scored is in a verdict, every call gets its end, in time."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from typing import TYPE_CHECKING

import psutil
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from api.bench.processes import Publishers, serving
from api.routes.events_websocket import PROTOCOL
from stream import event_encoding
from stream.events import StreamEnded, Verdict
from stream.types import EndReason
from tests.e2e.whip_support import transcode

if TYPE_CHECKING:
    from pathlib import Path

    from stream.events import Event

CALLS = 3
LIMIT_S = 25.0
IN_A_WINDOW = 7         # eight, but the last one may be short

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


class Watcher:
    """All events, in order, up to the moment when the service closes the connection."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.close_code: int | None = None

    @property
    def judged(self) -> set[str]:
        return {event.stream for event in self.events if isinstance(event, Verdict)}

    async def watch(self, url: str) -> None:
        async with connect(url, subprotocols=[PROTOCOL], max_size=2**22, proxy=None) as connection:     # type: ignore[list-item]
            await connection.send('{"type":"subscribe","stream":"*"}')
            try:
                while True:
                    self._take(await connection.recv(decode=False))
            except ConnectionClosed as closed:
                self.close_code = closed.rcvd.code if closed.rcvd else None

    def _take(self, text: bytes) -> None:
        message = json.loads(text)
        if message["type"] == "event":
            self.events.append(event_encoding.decode(json.dumps(message["event"]).encode()))

    def last(self, stream: str) -> tuple[Verdict, StreamEnded]:
        *_, verdict, ended = (event for event in self.events if event.stream == stream)
        assert isinstance(verdict, Verdict)
        assert isinstance(ended, StreamEnded)
        return verdict, ended


async def test_a_terminated_service_finishes_its_work(tmp_path: Path) -> None:
    fast = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}
    clip = transcode(tmp_path / "call.webm", "libvpx", 6, **fast)
    watcher, publishers = Watcher(), Publishers()
    async with serving(DEEPGUARD_WORKERS="1") as service:
        watching = asyncio.create_task(watcher.watch(service.websocket_url))
        family = psutil.Process(service.pid).children(recursive=True)
        try:
            await publishers.start(f"{service.url}/whip", clip, "call-", CALLS)
            async with asyncio.timeout(40):
                while len(watcher.judged) < CALLS:
                    await asyncio.sleep(0.1)
            began_s = time.monotonic()
            os.kill(service.pid, signal.SIGTERM)
            async with asyncio.timeout(LIMIT_S):
                await watching
                while psutil.pid_exists(service.pid):
                    await asyncio.sleep(0.05)
        finally:
            watching.cancel()
            await publishers.stop()
    print(f"over {time.monotonic() - began_s:.2f} s after SIGTERM")
    assert watcher.close_code == 1012, "service restart"
    assert not [process for process in family if process.is_running()]
    for number in range(CALLS):
        verdict, ended = watcher.last(f"call-{number}")
        assert ended.reason is EndReason.SHUTDOWN
        assert verdict.samples >= min(ended.frames.scored, IN_A_WINDOW) > 0
        assert ended.frames.decoded == ended.frames.received, "nothing that had come was left unlooked at"
        assert ended.frames.dropped == {}
