"""Bitrate that Chromium sends under a fixed REMB, as here, and under aiortc's own estimate, one after the other.

The test prints the figures and writes them to `remb.json` in the folder `DEEPGUARD_TEST_OUT`, if given."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from aiortc.rate import RemoteBitrateEstimator
from playwright.async_api import async_playwright

from api.ingest import aiortc_patches
from tests.api.whip_rig import until, whip_rig
from tests.e2e.browser_support import CAMERA_FLAGS, CHROMIUM_FLAGS, SAMPLE_CALL, chromium_path, make_camera_clip
from tests.soak.figures import show

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.async_api import Page

SECONDS = float(os.environ.get("DEEPGUARD_TEST_REMB_S", "30"))
LOOK_S = 5.0

PUBLISH = """async url => {
  const media = await navigator.mediaDevices.getUserMedia({video: true})
  const peer = new RTCPeerConnection()
  peer.addTransceiver(media.getVideoTracks()[0], {direction: 'sendonly', streams: [media]})
  await peer.setLocalDescription(await peer.createOffer())
  const answer = await fetch(url, {
    method: 'POST', headers: {'Content-Type': 'application/sdp'}, body: peer.localDescription.sdp})
  await peer.setRemoteDescription({type: 'answer', sdp: await answer.text()})
  window.peer = peer
}"""
STATS = """async () => {
  for (const report of (await window.peer.getStats()).values())
    if (report.type === 'outbound-rtp')
      return [report.frameWidth, report.frameHeight, report.framesPerSecond, report.qualityLimitationReason]
}"""

pytestmark = [pytest.mark.soak, pytest.mark.timeout(4 * SECONDS + 120)]


class Sent(NamedTuple):
    """What arrived since the last look, and what Chromium says of itself now."""

    at_s: float
    kbps: int
    width_px: int
    height_px: int
    frames_per_s: float
    limited_by: str


async def test_full_quality_needs_the_fixed_bitrate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    camera = tmp_path / "camera.mjpeg"
    await asyncio.to_thread(make_camera_clip, SAMPLE_CALL, camera)
    flags = [*CHROMIUM_FLAGS, *CAMERA_FLAGS, f"--use-file-for-fake-video-capture={camera}", "--no-sandbox"]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium_path(), args=flags)
        ours = await measure(await browser.new_page())
        monkeypatch.setattr(aiortc_patches, "_FixedBitrate", RemoteBitrateEstimator)
        theirs = await measure(await browser.new_page())
        await browser.close()
    show("remb", {
        f"{mine.at_s:g} s": f"fixed: {mine[1:]}; aiortc: {other[1:]}" for mine, other in zip(ours, theirs, strict=True)
    })
    assert ours[0].kbps > 1.5 * theirs[0].kbps
    assert ours[0].width_px >= theirs[0].width_px


async def measure(page: Page) -> list[Sent]:
    found: list[Sent] = []
    async with whip_rig() as rig:
        await page.route("**/page", lambda route: route.fulfill(body="<p>publisher", content_type="text/html"))
        await page.goto(f"{rig.url}/page")
        await page.evaluate(PUBLISH, f"{rig.url}/whip/chromium")
        session = await rig.service.first()
        known = 0
        while len(found) * LOOK_S < SECONDS:
            await asyncio.sleep(LOOK_S)
            received_bytes = sum(len(unit.payload) for unit in session.units[known:])
            known = len(session.units)
            stats: list[Any] = await page.evaluate(STATS)
            found.append(Sent((len(found) + 1) * LOOK_S, round(received_bytes * 8 / LOOK_S / 1000), *stats))
        await page.close()
        await until(lambda: session.ended is not None)
    return found
