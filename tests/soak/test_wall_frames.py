"""Frame times of the dashboard wall with 60 calls, each with two verdicts per second through the real WebSocket.

Service, workers, browser and its software rendering share the machine. The frames are the service's own. The verdicts
are synthetic, and every few seconds some calls change their label and thus their place.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect, sync_playwright

from api.bench.run_statistics import percentiles
from tests.api.rig import running_rig
from tests.e2e.browser_support import opened, running_chromium
from tests.e2e.stage import FAKE, REAL, SUSPECT, Line, Stage, nudged, sample_jpegs
from tests.soak.figures import show

if TYPE_CHECKING:
    from playwright.sync_api import Page

CARDS, RATE_HZ, SECONDS = 60, 2.0, 30.0
SHIFT_MAX = 0.01
LONG_SHARE_MAX = 0.05       # of the time, in tasks that a person may notice

pytestmark = [pytest.mark.soak, pytest.mark.timeout(300)]

WATCH = """() => {
  const seen = window.seen = { shift: 0, long: [], frames: [] };
  const observe = (type, take) => new PerformanceObserver(list => list.getEntries().forEach(take)).observe({ type });
  observe('layout-shift', entry => { seen.shift += entry.value; });
  observe('longtask', entry => seen.long.push(Math.round(entry.duration)));
  let last = performance.now();
  const frame = now => {
    if (seen !== window.seen) return;
    seen.frames.push(now - last);
    last = now;
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
}"""


def test_sixty_cards_are_smooth() -> None:
    with (
        running_rig(max_streams=CARDS) as rig,
        sync_playwright() as playwright,
        running_chromium(playwright, camera=None) as browser,
    ):
        stage = _filled(Stage(rig))
        with opened(browser, rig.url, viewport={"width": 1440, "height": 960}) as watch:
            page = watch.page
            expect(page.locator(".card")).to_have_count(CARDS)
            _play(stage, 5.0)
            idle = _measured(page, lambda: page.wait_for_timeout(5_000), 5.0)
            busy = _measured(page, lambda: _play(stage, SECONDS), SECONDS)
            page.mouse.move(600, 600)
            scrolled = _measured(page, lambda: _play(stage, 10.0, lambda: page.mouse.wheel(0, 120)), 10.0)
    show("wall", {"idle": idle, "verdicts": busy, "scrolled": scrolled})
    assert busy["shift"] <= SHIFT_MAX
    assert busy["long_share"] <= LONG_SHARE_MAX


def _filled(stage: Stage) -> Stage:
    pictures = sample_jpegs(6)
    for n in range(CARDS):
        call = f"room-{n // 3}" if n % 10 < 3 else ""
        stage.enter_shown(f"call-{n:02}", pictures[n % 6], call, f"person-{n}" if call else "")
    return stage


def _play(stage: Stage, seconds: float, also: Any = None) -> None:
    """Publishes a verdict per stream and half second, evenly spread."""
    names, began_s = list(stage.actors), time.monotonic()
    for n in range(round(len(names) * RATE_HZ * seconds)):
        time.sleep(max(0.0, began_s + n / (len(names) * RATE_HZ) - time.monotonic()))
        name, turn = names[n % len(names)], n // len(names)
        stage.say(name, _line(n % len(names), turn))
        if also is not None and n % 12 == 0:
            also()


def _line(stream: int, turn: int) -> Line:
    """Returns scores with noise; every fifth second some labels change."""
    phase = (stream * 7 + turn // 10) % 30
    wave = 0.06 * math.sin((turn + stream) / 5)
    left = 0.35 + 0.05 * math.sin((turn + stream) / 9)
    if phase == 0:
        return nudged(FAKE, 0.95 + wave / 2, 1.0)
    if phase < 3:
        return nudged(SUSPECT, 0.7 + wave, 0.6 + wave)
    line = REAL if phase % 2 else Line(box=(left, 0.2, 0.17, 0.4))
    return nudged(line, 0.2 + wave, 0.1 + wave)


def _measured(page: Page, work: Any, seconds: float) -> dict[str, Any]:
    page.evaluate(WATCH)
    work()
    seen = page.evaluate("window.seen")
    frames = percentiles(seen["frames"][1:])
    return {
        "frames_per_s": round(len(seen["frames"]) / seconds, 1), "shift": round(seen["shift"], 4),
        "frame_ms": {name: round(value, 1) for name, value in frames._asdict().items()},
        "longest_frame_ms": round(max(seen["frames"]), 1), "long_tasks": len(seen["long"]),
        "longest_task_ms": round(max(seen["long"], default=0.0), 1),
        "long_share": round(sum(seen["long"]) / 1000 / seconds, 4),
    }
