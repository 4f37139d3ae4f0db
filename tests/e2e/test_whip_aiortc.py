"""Calls over real WebRTC on loopback, from a publisher of encoded media, against the real service."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from api.clients.whip import PublishOptions, PublishStats, publish
from api.errors import PublishFailed
from tests.api.offers import BROWSER
from tests.api.rig import Rig, running_rig
from tests.e2e.whip_support import SAMPLE, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


DEAD = 6        # fewer than may start at the same time


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with running_rig() as running:
        yield running


@contextmanager
def published(url: str, clip: Path, **options: Any) -> Iterator[list[PublishStats]]:
    """Plays the clip in a loop, from a thread with its own event loop; what came of it is in the list at the end."""
    stats: list[PublishStats] = []
    loop = asyncio.new_event_loop()
    given = PublishOptions(**options)
    thread = threading.Thread(target=lambda: stats.append(loop.run_until_complete(_publish(url, clip, given))))
    thread.start()
    try:
        yield stats
    finally:
        loop.call_soon_threadsafe(given.stop.set)
        thread.join(30)
        assert not thread.is_alive()
        loop.close()


async def _publish(url: str, clip: Path, options: PublishOptions) -> PublishStats:
    """Comes again when the service is busy."""
    while True:
        try:
            return await publish(url, clip, options)
        except PublishFailed as error:
            if error.refusal is None or error.refusal.retry_after_s is None or options.stop.is_set():
                raise
            await asyncio.sleep(error.refusal.retry_after_s)


def test_the_sample_call_is_judged_from_its_first_second(rig: Rig) -> None:
    with rig.client() as client, published(f"{rig.url}/whip/sample?call_id=room-1", SAMPLE, sample=True) as stats:
        first = wait_for(client, "sample", lambda info: info["verdict"] is not None)
        # however late it was seen here
        assert first["verdict"]["end_s"] - first["verdict"]["sequence"] * 0.5 <= 1.0
        assert (first["state"], first["source"], first["sample"], first["call_id"]) == ("live", "whip", True, "room-1")
        info = wait_for(client, "sample", lambda info: info["verdict"]["samples"] >= 8)
        assert (info["width_px"], info["height_px"]) == (640, 360)
        verdict = info["verdict"]
        assert len(verdict["faces"]) == 1
        assert verdict["coverage"] > 0.8
        assert verdict["age_ms"] < 2000
        assert info["frames"]["dropped"] == {}
        frame = client.get("/v1/streams/sample/frame.jpg")
        assert frame.headers["content-type"] == "image/jpeg"
    with rig.client() as client:
        ended = client.get("/v1/streams/sample").json()
    assert ended["state"] == "ended"
    assert ended["frames"]["decoded"] == ended["frames"]["received"]
    assert stats[0].frames - ended["frames"]["received"] <= 5
    assert stats[0].connected_s > 0
    assert rig.call(lambda: rig.context.whip_sessions.status.sessions) == 0


def test_a_call_can_be_stopped_by_the_moderator(rig: Rig) -> None:
    with rig.client() as client:
        with published(f"{rig.url}/whip/stopped", SAMPLE) as stats:
            wait_for(client, "stopped", lambda info: info["frames"]["received"] > 10)
            assert client.delete("/v1/streams/stopped").status_code == 204
            wait_for(client, "stopped", lambda info: info["state"] == "ended")
            end_s = time.monotonic() + 10
            while not stats and time.monotonic() < end_s:
                time.sleep(0.05)
        assert stats[0].ended_by == "server"
        with published(f"{rig.url}/whip/stopped", SAMPLE):
            wait_for(client, "stopped", lambda info: info["state"] == "live")       # the name is free again


def test_two_calls_at_once_are_kept_apart(rig: Rig) -> None:
    with rig.client() as client, published(f"{rig.url}/whip/one", SAMPLE), published(f"{rig.url}/whip/two", SAMPLE):
        for stream in ("one", "two"):
            info = wait_for(client, stream, lambda info: info["verdict"] is not None)
            assert info["verdict"]["id"].startswith(f"{stream}/{info['epoch']}/")
        answer = client.post("/whip/one", content="v=0", headers={"Content-Type": "application/sdp"})
        assert answer.status_code == 400
        listed = [info["stream"] for info in client.get("/v1/streams").json()["streams"] if info["state"] == "live"]
        assert sorted(listed) == ["one", "two"]


def _offered(client: httpx.Client, path: str) -> httpx.Response:
    """Comes again when the service is busy, here with the calls of the test before."""
    while (answer := client.post(path, content=BROWSER)).status_code == 503:
        time.sleep(int(answer.headers["retry-after"]))
    assert answer.status_code == 201, answer.text
    return answer


def test_offers_that_never_connect_are_no_calls(rig: Rig) -> None:
    with httpx.Client(base_url=rig.url, trust_env=False, headers={"Content-Type": "application/sdp"}) as client:
        answers = [_offered(client, f"/whip/dead-{n}") for n in range(DEAD)]
        locations = [answer.headers["location"] for answer in answers]
        assert not [info for info in client.get("/v1/streams").json()["streams"] if info["stream"].startswith("dead")]
        assert rig.call(lambda: rig.context.whip_sessions.status) == (DEAD, DEAD)
        assert [client.delete(location).status_code for location in locations] == [200] * DEAD
        assert rig.call(lambda: rig.context.whip_sessions.status) == (0, 0)
