"""A thousand offers of which none ever connects, beside a real call: it keeps its samples, and nothing is left."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import NamedTuple

import httpx
import psutil
import pytest

from api.bench.processes import Service, serving
from api.clients.whip import ClipTrack, PublishOptions, load_clip, publish_track
from tests.api.offers import BROWSER_VIDEO_ONLY
from tests.e2e.whip_support import SAMPLE

OFFERS, AT_ONCE = 1000, 16
BACK_S = 20.0           # after the last offer
GROWTH_MB = 20.0
SAMPLES_SHARE = 0.99
SDP = {"Content-Type": "application/sdp"}

pytestmark = pytest.mark.slow


class Held(NamedTuple):
    descriptors: int
    rss_mb: float


def held(service: Service) -> Held:
    process = psutil.Process(service.pid)
    return Held(process.num_fds(), process.memory_info().rss / 2**20)


async def offer_all(client: httpx.AsyncClient, count: int) -> Counter[int]:
    """The statuses of so many offers, each for a stream of its own."""
    at_once = asyncio.Semaphore(AT_ONCE)

    async def offer(number: int) -> int:
        async with at_once:
            answer = await client.post(f"/whip/dead-{number}", content=BROWSER_VIDEO_ONLY, headers=SDP)
            return answer.status_code

    return Counter(await asyncio.gather(*(offer(number) for number in range(count))))


async def settled(service: Service, before: Held, within_s: float) -> Held:
    """What is held as soon as it is as little as before, or at the end of the time."""
    end_s = time.monotonic() + within_s
    while (now := held(service)).descriptors > before.descriptors + 2 and time.monotonic() < end_s:
        await asyncio.sleep(0.25)
    return now


async def test_a_thousand_dead_offers_leave_nothing_and_cost_a_real_call_nothing() -> None:
    clip = load_clip(SAMPLE)
    options = PublishOptions()
    async with serving() as service, httpx.AsyncClient(base_url=service.url, timeout=60, trust_env=False) as client:
        track = ClipTrack(clip)
        call = asyncio.create_task(publish_track(f"{service.url}/whip/real", track, options))
        while (await client.get("/v1/streams/real")).status_code != 200:
            await asyncio.sleep(0.1)
        before = held(service)
        counts_before = (await client.get("/v1/streams/real")).json()["frames"]
        statuses = await offer_all(client, OFFERS)
        after = await settled(service, before, BACK_S)
        counts = (await client.get("/v1/streams/real")).json()["frames"]
        options.stop.set()
        stats = await call
    print(f"{dict(statuses)}: {before} -> {after}; real call {counts}")
    assert set(statuses) <= {201, 503}
    assert statuses[201] >= 4, "so many that something could be left"
    assert after.descriptors <= before.descriptors + 2
    assert after.rss_mb - before.rss_mb <= GROWTH_MB
    assert stats.ended_by == "stop"
    sampled = counts["sampled"] - counts_before["sampled"]
    lost = sum(counts["dropped"].values()) - sum(counts_before["dropped"].values())
    assert sampled > 0
    assert sampled / (sampled + lost) >= SAMPLES_SHARE
