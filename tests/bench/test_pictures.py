"""Pictures of the wall, of checked files and of "Add a source" for docs/ (`make screenshots`); elsewhere, to look at.

The calls show frames of the sample call; their verdicts are staged, so that each kind of card is on the wall.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.api.rig import running_rig
from tests.e2e.browser_support import PICTURES_WANTED, PORTRAIT, ROOT, SAMPLE_CALL, opened, running_chromium
from tests.e2e.stage import FAKE, NO_FACE, REAL, SUSPECT, Line, Stage, nudged, sample_jpegs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    from tests.api.rig import Rig

pytestmark = [pytest.mark.bench, pytest.mark.timeout(240)]

LOOKS = {
    "": {"viewport": {"width": 1440, "height": 960}, "color_scheme": "light"},
    "-dark": {"viewport": {"width": 1440, "height": 960}, "color_scheme": "dark"},
    "-phone": {"viewport": {"width": 390, "height": 844}, "color_scheme": "light", "device_scale_factor": 2},
}
CALLS = {
    "interview-114": ("", "candidate", FAKE), "board-bob": ("board", "Bob", SUSPECT),
    "board-ann": ("board", "Ann", Line()), "gate-2": ("", "", REAL), "kiosk-7": ("", "", NO_FACE),
}
TURNS, ALARM_TURN = 130, 84


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with running_rig() as rig:
        yield rig


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright, running_chromium(playwright, camera=None) as browser:
        yield browser


@pytest.fixture(scope="module")
def stage(rig: Rig) -> Stage:
    stage = Stage(rig)
    for picture, (name, (call, who, _)) in zip(sample_jpegs(len(CALLS)), CALLS.items(), strict=True):
        stage.enter_shown(name, picture, call, who)
    return stage


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return ROOT / "docs" if PICTURES_WANTED else tmp_path


def _told(stage: Stage, turns: range) -> None:
    for turn in turns:
        for n, (name, (_, _, line)) in enumerate(CALLS.items()):
            stage.say(name, _at(line, turn, n))
        time.sleep(0.04)        # faster, and the service would conflate verdicts as for a slow reader


def _at(line: Line, turn: int, n: int) -> Line:
    """What was said at this turn on the way to `line`."""
    if line.prob is None:
        return line
    wave = 0.04 * math.sin(turn / 5 + 2 * n) + 0.02 * math.sin(turn / 2.3 + n)
    if line is not FAKE:
        return nudged(line, max(0.02, line.prob + wave), max(0.0, line.level * min(1.0, turn / 90) + wave / 2))
    prob = min(0.97, 1 / (1 + math.exp((60 - turn) / 10)) + 0.05 + wave / 2)
    return nudged(FAKE, prob, 1.0) if turn >= ALARM_TURN else nudged(SUSPECT, prob, max(0.03, (turn - 30) / 54))


def _pictures(browser: Browser, rig: Rig, target: Path, scene: Callable[[Page], None]) -> None:
    for look, options in LOOKS.items():
        with opened(browser, rig.url, **options) as watch:
            scene(watch.page)
            watch.page.wait_for_timeout(800)        # loads frames and fonts
            watch.page.screenshot(path=f"{target}{look}.png")


def test_the_wall(browser: Browser, rig: Rig, stage: Stage, folder: Path) -> None:
    def scene(page: Page) -> None:
        expect(page.locator(".card")).to_have_count(len(CALLS))
        _told(stage, range(TURNS))
        expect(page.locator(".card[data-label='FAKE'][data-framed]")).to_be_visible()

    _pictures(browser, rig, folder / "wall", scene)


def test_checked_files(browser: Browser, rig: Rig, stage: Stage, folder: Path) -> None:
    def scene(page: Page) -> None:
        _told(stage, range(TURNS - 40, TURNS))
        page.locator("#upload-input").set_input_files([str(PORTRAIT), str(SAMPLE_CALL)])
        expect(page.locator("#upload-count")).to_have_text("2 of 2 files done", timeout=120_000)
        expect(page.locator(".job [data-part='heat-caption']").first).to_contain_text("Warmer")
        page.wait_for_timeout(1_500)
        _told(stage, range(TURNS - 2, TURNS))       # the calls continued meanwhile
        page.locator("#upload").evaluate("panel => panel.scrollIntoView({ block: 'start' })")

    _pictures(browser, rig, folder / "upload", scene)


def test_a_source(browser: Browser, rig: Rig, stage: Stage, folder: Path) -> None:
    def scene(page: Page) -> None:
        _told(stage, range(TURNS - 40, TURNS))
        page.get_by_role("button", name="Add a source").click()
        page.locator("#source-url").fill("rtsp://camera-2.example.com/main")
        page.locator("#source-user").fill("viewer")
        page.locator("#source-password").fill("not shown")
        page.locator("#source-stream").fill("gate-3")

    _pictures(browser, rig, folder / "source", scene)
