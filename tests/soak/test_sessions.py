"""Half an hour of calls that come and go: neither memory nor file descriptors may grow with their number.

`DEEPGUARD_TEST_SOAK_SECONDS` and `DEEPGUARD_TEST_SOAK_SESSIONS` scale it; 120 and 80 make a short one.
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import httpx
import psutil
import pytest
from websockets.asyncio.client import connect

from api.bench.processes import serving
from api.clients.whip import ClipTrack, PublishOptions, load_clip, publish_track
from api.routes.events_websocket import PROTOCOL
from tests.api.clients.test_whip import make_clip

if TYPE_CHECKING:
    from pathlib import Path

    from api.bench.processes import Service
    from api.clients.whip import Clip

SECONDS = float(os.environ.get("DEEPGUARD_TEST_SOAK_SECONDS", "1800"))
SESSIONS = int(os.environ.get("DEEPGUARD_TEST_SOAK_SESSIONS", "1000"))
WARM_UP_SHARE = 1 / 3           # share of the run until the event history is full
SESSION_S = 6.0
GROWTH_MB = 20.0
DESCRIPTORS = 2
IDLE_S = 30.0

pytestmark = [pytest.mark.soak, pytest.mark.timeout(SECONDS * 1.5 + 300)]


class Held(NamedTuple):
    """Memory and file descriptors of the service's processes together, while no call runs."""

    rss_mb: float
    descriptors: int
    processes: int


def held(service: Service) -> Held:
    api = psutil.Process(service.pid)
    family = [api, *api.children(recursive=True)]
    rss_mb = sum(process.memory_info().rss for process in family) / 2**20
    return Held(rss_mb, sum(process.num_fds() for process in family), len(family))


@dataclass
class Soak:
    """Calls against one service. Every fourth is ended by the service, the others by the publisher."""

    service: Service
    clip: Clip
    client: httpx.AsyncClient
    judged: int = 0
    ended_by: list[str] = field(default_factory=list)
    _begun: int = 0

    async def play(self, sessions: int, seconds: float) -> Held:
        """Starts the calls evenly over the time; returns what the service holds after the last has ended."""
        began_s = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in range(sessions):
                await asyncio.sleep(max(0.0, began_s + number * seconds / sessions - time.monotonic()))
                group.create_task(self._call(self._begun))
                self._begun += 1
        await self._until_idle()
        return held(self.service)

    async def _call(self, number: int) -> None:
        stream = f"soak-{number}"
        options = PublishOptions(duration_s=SESSION_S)
        url = f"{self.service.url}/whip/{stream}"
        publishing = asyncio.create_task(publish_track(url, ClipTrack(self.clip), options))
        await self._watch(stream)
        if number % 4 == 0:
            (await self.client.delete(f"/v1/streams/{stream}")).raise_for_status()
        self.ended_by.append((await publishing).ended_by)

    async def _watch(self, stream: str) -> None:
        """Reads one verdict, then disconnects."""
        async with connect(self.service.websocket_url, subprotocols=[PROTOCOL], proxy=None) as connection:      # type: ignore[list-item]
            await connection.send(f'{{"type":"subscribe","stream":"{stream}"}}')
            async with asyncio.timeout(SESSION_S):
                while b'"type":"verdict"' not in await connection.recv(decode=False):
                    pass
        self.judged += 1

    async def _until_idle(self) -> None:
        """Waits until no call is live and connections have had time to close."""
        async with asyncio.timeout(IDLE_S):
            while any(s["state"] == "live" for s in (await self.client.get("/v1/streams")).json()["streams"]):
                await asyncio.sleep(0.2)
        await asyncio.sleep(2)


async def test_calls_that_come_and_go_leave_nothing_behind(tmp_path: Path) -> None:
    clip = load_clip(make_clip(tmp_path / "clip.webm", "libvpx", 240, deadline="realtime", **{"lag-in-frames": "0"}))
    warm_up = round(SESSIONS * WARM_UP_SHARE)
    async with serving() as service, httpx.AsyncClient(base_url=service.url, timeout=20, trust_env=False) as client:
        soak = Soak(service, clip, client)
        before = await soak.play(warm_up, SECONDS * WARM_UP_SHARE)
        after = await soak.play(SESSIONS - warm_up, SECONDS * (1 - WARM_UP_SHARE))
    print(f"{SESSIONS} sessions in {SECONDS:g} s: {before} -> {after}")
    assert soak.judged == SESSIONS
    assert soak.ended_by.count("server") == -(-SESSIONS // 4)
    assert soak.ended_by.count("duration") == SESSIONS - soak.ended_by.count("server")
    assert after.processes == before.processes
    assert after.rss_mb - before.rss_mb <= GROWTH_MB
    assert abs(after.descriptors - before.descriptors) <= DESCRIPTORS
