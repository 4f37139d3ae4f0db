"""The tool panels in a real Chromium, and the accessibility of the page (axe-core)."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect, sync_playwright

from tests.api.rig import running_rig
from tests.e2e.browser_support import PORTRAIT, SAMPLE_CALL, free_port, opened, running_chromium
from tests.e2e.stage import FAKE, NO_FACE, REAL, SUSPECT, Line, Stage, sample_jpegs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    from tests.api.rig import Rig

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

DESKTOP = {"width": 1440, "height": 960}
PHONE = {"width": 360, "height": 740}
LOOKS = [("light", DESKTOP), ("dark", PHONE), ("light", PHONE), ("dark", DESKTOP)]
SERIOUS = {"serious", "critical"}
LINES = {"fake": FAKE, "suspect": SUSPECT, "watched": Line(), "empty": NO_FACE, "clear": REAL, "gone": Line()}


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
    """A wall with a card of every kind."""
    stage = Stage(rig)
    [picture] = sample_jpegs(1)
    for name, line in LINES.items():
        stage.enter_shown(name, picture, "board" if name in ("suspect", "watched") else "", f"{name}-person")
        stage.say(name, line, times=3)
    stage.leave("gone")
    stage.enter("new")
    return stage


def expect_accessible(page: Page, looks: list[tuple[str, dict[str, int]]], scope: str | None = None) -> None:
    """No serious or critical violation, in any of these looks."""
    found = {}
    for scheme, size in looks:
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")       # type: ignore[arg-type]
        page.set_viewport_size(size)        # type: ignore[arg-type]
        violations = Axe().run(page, context=scope).response["violations"]
        bad = [_short(violation) for violation in violations if violation["impact"] in SERIOUS]
        if bad:
            found[f"{scheme} {size['width']}"] = bad
    assert not found, json.dumps(found, indent=1)


def _short(violation: dict[str, Any]) -> list[str]:
    nodes = violation["nodes"]
    return [violation["id"], *(f"{node['target']}: {node.get('failureSummary', '')}" for node in nodes[:4])]


def test_the_wall_is_accessible(browser: Browser, rig: Rig, stage: Stage) -> None:
    with opened(browser, rig.url) as watch:
        expect(watch.page.locator(".card")).to_have_count(6)     # ended calls are not in the first snapshot
        expect(watch.page.locator(".card[data-framed] .face").first).to_be_visible()
        expect_accessible(watch.page, LOOKS)
        watch.page.get_by_label("Find a call").fill("nobody")
        expect(watch.page.locator("#unmatched")).to_be_visible()
        expect_accessible(watch.page, LOOKS[:2], "#wall")


def test_a_call_and_its_keys_are_accessible(browser: Browser, rig: Rig, stage: Stage) -> None:
    with opened(browser, rig.url) as watch:
        watch.page.get_by_role("link", name="fake").click()
        expect(watch.page.locator("#call-title")).to_contain_text("fake")
        expect_accessible(watch.page, LOOKS)
        watch.page.evaluate("document.querySelector('#key-dialog').showModal()")
        expect_accessible(watch.page, LOOKS[:2], "#key-dialog")


def test_checked_files_are_accessible(browser: Browser, rig: Rig, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("no picture")
    with opened(browser, rig.url) as watch:
        files = [str(SAMPLE_CALL), str(PORTRAIT), str(tmp_path / "letter.txt")]
        watch.page.locator("#upload-input").set_input_files(files)
        expect(watch.page.locator("#upload-count")).to_have_text("3 of 3 files done", timeout=120_000)
        expect(watch.page.locator("#upload-spoken")).to_have_text(re.compile(r"^obama.jpg: \w+"))
        expect_accessible(watch.page, LOOKS, "#upload")
        watch.page.get_by_role("button", name="Clear finished").click()
        expect(watch.page.locator(".job")).to_have_count(0)


def test_a_queue_of_files_is_bounded_and_can_be_left(browser: Browser, rig: Rig, tmp_path: Path) -> None:
    names = [tmp_path / f"{n:02}.jpg" for n in range(60)]
    for name in names:
        name.write_bytes(PORTRAIT.read_bytes())
    with opened(browser, rig.url) as watch:
        page = watch.page
        page.context.set_offline(True)
        page.locator("#upload-input").set_input_files([str(name) for name in names])
        expect(page.locator("#upload-count")).to_have_text("50 of 50 files done")
        expect(page.locator("#upload-status")).to_contain_text("10 files left out")
        assert page.locator(".job").count() == 50
        last = page.locator(".job").filter(has_text="00.jpg")
        expect(last).to_contain_text("cannot be reached")
        page.context.set_offline(False)
        page.get_by_role("button", name="Try 00.jpg again").click()
        expect(last).to_have_attribute("data-state", "done", timeout=90_000)
        page.get_by_role("button", name="Remove 01.jpg").click()
        expect(page.locator("#upload-count")).to_have_text("49 of 49 files done")


def test_sources_are_added_watched_and_stopped(browser: Browser, rig: Rig) -> None:
    port = free_port()
    with opened(browser, rig.url, permissions=["clipboard-read", "clipboard-write"]) as watch:
        page = watch.page
        page.get_by_role("button", name="Add a source").click()
        expect(page.get_by_label("Address", exact=True).first).to_be_focused()
        for kind in ("Address", "WHEP", "LiveKit", "RTP"):
            page.get_by_role("radio", name=kind).check()
            expect_accessible(page, LOOKS[:2], "#source-dialog")
        page.get_by_label("Sent from").fill("127.0.0.1")
        page.get_by_label("Port (empty: any)").fill(str(port))
        page.get_by_label("Name of the stream").fill("bad name")
        page.get_by_role("button", name="Add", exact=True).click()
        assert page.evaluate("document.querySelector('#source-stream').validity.patternMismatch")
        page.get_by_label("Name of the stream").fill("gate-2")
        page.get_by_role("button", name="Add", exact=True).click()
        item = page.locator(".source")
        expect(item).to_contain_text(f"Send VP8 to UDP port {port} of 127.0.0.1")
        expect(item).to_contain_text("Waiting for the first frame")
        expect(page.get_by_role("button", name="Stop gate-2")).to_be_focused()

        page.get_by_role("button", name="Add a source").click()
        page.get_by_role("radio", name="RTP").check()
        page.get_by_label("Name of the stream").fill("gate-2")
        page.get_by_role("button", name="Add", exact=True).click()
        expect(page.locator("#source-error")).to_contain_text("gate-2")
        expect(page.get_by_label("Name of the stream")).to_be_focused()
        page.keyboard.press("Escape")
        page.reload()
        expect(item).to_contain_text("gate-2")
        page.get_by_role("button", name="Stop gate-2").click()
        expect(item).to_have_count(0)
        expect(page.get_by_role("button", name="Add a source")).to_be_focused()


def test_secrets_of_a_source_do_not_outlive_the_dialog(browser: Browser, rig: Rig) -> None:
    with opened(browser, rig.url) as watch:
        page = watch.page
        page.get_by_role("button", name="Add a source").click()
        page.get_by_label("Address", exact=True).last.fill("rtsp://203.0.113.9/main")
        page.get_by_label("Password").fill("s3cret-word")
        assert page.get_by_label("Password").get_attribute("type") == "password"
        page.get_by_label("Name of the stream").fill("gate-9")
        page.get_by_role("button", name="Add", exact=True).click()
        expect(page.locator("#source-error")).to_contain_text(re.compile("address|not allowed|public", re.IGNORECASE))
        expect(page.locator("#source-url")).to_be_focused()
        page.get_by_role("radio", name="WHEP").check()
        assert page.get_by_label("Token").get_attribute("type") == "password"
        page.get_by_role("button", name="Cancel").click()
        page.get_by_role("button", name="Add a source").click()
        expect(page.get_by_label("Password")).to_have_value("")
        kept = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])")
        assert "s3cret-word" not in kept


def test_a_room_of_livekit_is_a_command(browser: Browser, rig: Rig) -> None:
    with opened(browser, rig.url) as watch:
        page = watch.page
        page.get_by_role("button", name="Add a source").click()
        page.get_by_role("radio", name="LiveKit").check()
        page.get_by_label("Server").fill("wss://sfu.example.com")
        page.get_by_label("Room").fill("stand up; rm -r")
        expect(page.locator("#source-command")).to_have_text(
            f"deepguard livekit --url wss://sfu.example.com --room 'stand up; rm -r' --to {rig.url}"
        )
        page.get_by_role("button", name="Done").click()
        expect(page.locator("#source-dialog")).to_be_hidden()
