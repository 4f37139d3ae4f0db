"""500 watchers of 50 streams, and 50 more that never read: delivery, delay and cost.

The service and the watchers share the machine. All watchers get one verdict per stream and second.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from websockets.asyncio.client import connect

from api.bench.run_statistics import percentiles
from api.routes.events_websocket import PROTOCOL
from tests.soak.figures import show

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

WATCHERS, STALLED, STREAMS = 500, 50, 50
SECONDS = 30.0
AT_ONCE = 20
P99_MS = 250.0
GROWTH_MB = 150.0       # buffers of 550 connections, bounded for the ones that do not read

pytestmark = [pytest.mark.soak, pytest.mark.timeout(SECONDS + 180)]


@asynccontextmanager
async def talking_service() -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.soak.talking_service", str(STREAMS), str(SECONDS),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        if process.stdin is not None:
            process.stdin.close()
        await process.wait()


async def told(process: asyncio.subprocess.Process) -> dict[str, Any]:
    """Returns the next line of JSON; skips the service's log lines."""
    assert process.stdout is not None
    async for line in process.stdout:
        with contextlib.suppress(ValueError):
            answer: dict[str, Any] = json.loads(line)
            return answer
    raise AssertionError("the service ended")


class Crowd:
    """All watchers. `ages_ms` is the time from the publication of a verdict to its arrival."""

    def __init__(self, port: int) -> None:
        self.ready = 0
        self.ages_ms: list[float] = []
        self.given_up = 0
        self._url = f"ws://127.0.0.1:{port}/ws"
        self._connecting = asyncio.Semaphore(AT_ONCE)

    async def watch(self, reads: bool) -> None:
        async with self._connecting:
            connection = await connect(
                self._url, subprotocols=[PROTOCOL], compression=None, proxy=None, max_queue=16,    # type: ignore[list-item]
            )
            await connection.send('{"type":"subscribe","stream":"*"}')
            self.ready += 1
        try:
            if not reads:
                await connection.wait_closed()
            async for text in connection:
                self._take(str(text), time.time())
        finally:
            self.given_up += 1
            connection.transport.abort()

    def _take(self, text: str, now_s: float) -> None:
        message = json.loads(text)
        if message["type"] == "event" and message["event"]["type"] == "verdict":
            self.ages_ms.append((now_s - message["event"]["start_s"]) * 1000)


async def test_everybody_is_told_in_time_whoever_does_not_read() -> None:
    async with talking_service() as service:
        crowd = Crowd((await told(service))["port"])
        watching = [asyncio.create_task(crowd.watch(reads=n >= STALLED)) for n in range(STALLED + WATCHERS)]
        while crowd.ready < len(watching):
            await asyncio.sleep(0.1)
        assert service.stdin is not None
        service.stdin.write(b"\n")
        used = await told(service)
        await asyncio.sleep(1)
        alive = sum(not task.done() for task in watching[STALLED:])
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
    ages = percentiles(crowd.ages_ms)
    figures = {"watchers": WATCHERS, "stalled": STALLED, "streams": STREAMS, "delivered": len(crowd.ages_ms),
               "age_ms": {name: round(value, 1) for name, value in ages._asdict().items()}, **used}
    show("watchers", figures)
    assert alive == WATCHERS
    assert len(crowd.ages_ms) == WATCHERS * STREAMS * SECONDS
    assert ages.p99 <= P99_MS
    assert used["rss_mb"][1] - used["rss_mb"][0] <= GROWTH_MB
