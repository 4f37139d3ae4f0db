"""The page in a real Chromium, against real service processes and real media."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect, sync_playwright

from stream.events import REASON_TEXT
from tests.e2e.browser_support import (
    PORTRAIT,
    ROOT,
    SAMPLE_CALL,
    is_painted,
    make_camera_clip,
    opened,
    published,
    running_chromium,
    running_service,
    start_webcam,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Locator, Page, Playwright

    from tests.e2e.browser_support import Service

SAMPLE = "sample-call"
KEY = "a-key-for-the-browser-test"
LABELS = re.compile("Likely fake|Likely real|Uncertain|Suspicious|No sign of manipulation so far")
PROBABILITY = re.compile(r"^[<>]?\s?\d{1,2}\s%$")
NO_VALUE = "\u2013"
FIRST_VERDICT_MS = 60_000
SOON_S = 8.0        # before the service would end the call for its silence
DESKTOP = {"width": 1440, "height": 960}
PHONE = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("browser")


@pytest.fixture(scope="module")
def camera(folder: Path) -> Path:
    make_camera_clip(SAMPLE_CALL, folder / "camera.mjpeg")
    return folder / "camera.mjpeg"


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[Service]:
    """One service for the tests that do not harm it, with the sample call on air."""
    with running_service(folder / "service.log") as service, published(service, SAMPLE):
        yield service


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="module")
def browser(playwright: Playwright, camera: Path) -> Iterator[Browser]:
    with running_chromium(playwright, camera) as browser:
        yield browser


def card_of(page: Page, stream: str) -> Locator:
    return page.locator(f".card[data-stream='{stream}']")


def part(scope: Locator, name: str) -> Locator:
    return scope.locator(f"[data-part='{name}']")


def expect_judged(card: Locator) -> None:
    """The card has a verdict that rests on a scored face, in words, and shows what it rests on."""
    expect(part(card, "prob")).to_have_text(PROBABILITY, timeout=FIRST_VERDICT_MS)
    expect(part(card, "label")).to_have_text(LABELS)
    expect(part(card, "number")).to_have_text(re.compile(r"^\d+\s%$"))
    expect(part(card, "number-name")).to_have_text("alarm level")
    told = part(card, "reason").inner_text().lower()
    assert told in REASON_TEXT.values() or re.fullmatch(r"watched for \d+:\d\d, \d+\s% of the pictures analyzed", told)
    expect(part(card, "coverage")).to_have_text(re.compile(r"^\d+\s%$"))
    expect(part(card, "age")).to_have_text(re.compile(r"^\d+ ms$|^\d\.\d s$"))
    expect(part(card, "rate")).to_have_text(re.compile(r"^[\d.]+/s$"))
    expect(card.locator(".plot-line").first).to_have_attribute("d", re.compile("^M"))


def test_the_sample_call_is_a_judged_card(browser: Browser, service: Service) -> None:
    with opened(browser, service.url) as watch:
        card = card_of(watch.page, SAMPLE)
        expect_judged(card)
        expect(part(card, "sample")).to_have_text("Sample")
        expect(card).to_have_attribute("data-framed", "")
        assert is_painted(watch.page, f".card[data-stream='{SAMPLE}'] canvas")
        screen, face = card.locator(".stage").bounding_box(), card.locator(".face").first.bounding_box()
        assert screen is not None
        assert face is not None
        assert screen["x"] <= face["x"] + 4
        assert face["x"] + face["width"] <= screen["x"] + screen["width"] + 4
        assert 0.05 < face["width"] / screen["width"] < 0.9
        expect(card.locator(".face span").first).to_have_text(re.compile("fake|Uncertain"))
        expect(watch.page.locator("#connection-text")).to_have_text("Connected")
        expect(watch.page.locator("#tally")).to_contain_text("1 live call")
        watch.assert_quiet()


def test_frames_and_verdicts_do_not_move_the_page(browser: Browser, service: Service) -> None:
    with opened(browser, service.url) as watch:
        expect_judged(card_of(watch.page, SAMPLE))
        shift = watch.page.evaluate(
            """() => new Promise(resolve => {
              let moved = 0;
              new PerformanceObserver(list => list.getEntries().forEach(entry => { moved += entry.value; }))
                .observe({ type: 'layout-shift' });
              setTimeout(() => resolve(moved), 4000);
            })"""
        )
        assert shift < 0.001


def test_the_webcam_is_judged_until_it_is_stopped(browser: Browser, service: Service) -> None:
    with opened(browser, service.url) as watch:
        page = watch.page
        started = start_webcam(watch)
        own = page.locator(".card[data-stream^='webcam-']")
        expect_judged(own)
        expect(part(own, "mine")).to_have_text("You")
        assert page.evaluate("document.querySelector('#webcam-video').videoWidth") == 640
        page.get_by_role("button", name="Show its card").click()
        expect(own).to_be_focused()
        stream = str(own.get_attribute("data-stream"))
        assert stream == started
        listed = service.stream(stream)
        assert listed is not None
        assert listed["state"] == "live"

        page.get_by_role("button", name="Stop").click()
        expect(part(own, "state")).to_have_text("Ended")
        expect(part(own, "note")).to_contain_text("The sender left")
        expect(page.get_by_role("button", name="Start webcam")).to_be_focused()
        assert page.evaluate("document.querySelector('#webcam-video').srcObject") is None
        service.wait_for(lambda: _state(service, stream) != "live", "the stopped call is over", SOON_S)
        watch.assert_quiet()


def test_leaving_the_page_ends_its_call(browser: Browser, service: Service) -> None:
    with opened(browser, service.url) as watch:
        stream = start_webcam(watch)
        service.wait_for(lambda: _state(service, stream) == "live", "the call has begun")
        watch.page.goto("about:blank")
        service.wait_for(lambda: _state(service, stream) != "live", "the left call is over", SOON_S)


def _state(service: Service, stream: str) -> str:
    info = service.stream(stream)
    return "gone" if info is None else str(info["state"])


def test_files_are_judged(browser: Browser, service: Service, folder: Path) -> None:
    (folder / "broken.jpg").write_bytes(b"this is not a picture" * 100)
    (folder / "letter.txt").write_text("nor is this")
    (folder / "nothing.png").touch()
    names = [str(folder / name) for name in ("broken.jpg", "letter.txt", "nothing.png")]
    with opened(browser, service.url) as watch:
        page = watch.page
        page.locator("#upload-input").set_input_files([str(PORTRAIT), str(SAMPLE_CALL), *names])
        jobs = page.locator(".job")
        expect(jobs).to_have_count(5)
        for name, words in (("letter.txt", "not supported"), ("nothing.png", "empty")):
            expect(part(jobs.filter(has_text=name), "status")).to_contain_text(words)
        _expect_picture_result(page, jobs.filter(has_text=PORTRAIT.name))
        _expect_video_result(jobs.filter(has_text=SAMPLE_CALL.name))
        broken = jobs.filter(has_text="broken.jpg")
        expect(broken).to_have_attribute("data-state", "failed")
        assert len(part(broken, "status").inner_text()) > 20
        page.get_by_role("button", name="Remove broken.jpg").click()
        expect(jobs).to_have_count(4)
        watch.assert_quiet("Failed to load resource")       # Chromium's own line about the refused file
        assert sum("Failed to load" in text for text in watch.complaints) == 1


def _expect_picture_result(page: Page, job: Locator) -> None:
    expect(job).to_have_attribute("data-state", "done", timeout=90_000)
    expect(part(job, "label")).to_have_text(LABELS)
    assert part(job, "reason").inner_text().lower() in REASON_TEXT.values()
    expect(part(job, "fake")).to_have_text(re.compile(r"^\d+\.\d\s%$"))
    expect(part(job, "heat")).to_be_visible()
    assert is_painted(page, ".job [data-part='heat']:not([hidden])")
    job.get_by_label("Heat map", exact=True).uncheck()
    expect(part(job, "heat")).to_be_hidden()
    assert is_painted(page, ".job [data-part='picture']:not([width='300'])")


def _expect_video_result(job: Locator) -> None:
    expect(job).to_have_attribute("data-state", "done", timeout=90_000)
    expect(part(job, "label")).to_have_text(LABELS)
    expect(job.locator(".plot-line").first).to_have_attribute("d", re.compile(r"^M.*L"))
    expect(part(job, "facts")).to_contain_text("Frames analyzed")
    expect(part(job, "scrub-words")).to_have_text(re.compile(r"^At [\d.]+ s: .*fake"))
    expect(part(job, "heat-caption")).to_contain_text("Warmer")
    assert is_painted(job.page, ".job:has(.scrub:not([hidden])) [data-part='picture']")
    assert is_painted(job.page, ".job:has(.scrub:not([hidden])) [data-part='heat']")
    told = part(job, "scrub-words").inner_text()
    part(job, "scrub").press("Home")
    expect(part(job, "scrub-words")).not_to_have_text(told)
    expect(part(job, "scrub")).to_have_attribute("aria-valuetext", re.compile(r"^At 0\.\d s"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone(browser: Browser, service: Service, folder: Path, scheme: str) -> None:
    with opened(browser, service.url, viewport=PHONE, color_scheme=scheme) as watch:
        expect_judged(card_of(watch.page, SAMPLE))
        too_wide = watch.page.evaluate(
            "[...document.querySelectorAll('body *')].filter(e => e.getClientRects().length"
            " && !e.closest('.sr, svg, .skip, .screen, .chips') && e.getBoundingClientRect().right > innerWidth + 1)"
            ".map(e => e.className || e.tagName)"
        )
        assert not too_wide
        assert watch.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        colour = watch.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", colour))) > 600) == (scheme == "light")
        watch.page.screenshot(path=folder / f"phone-{scheme}.png", full_page=True)


def test_everything_can_be_reached_by_keyboard(browser: Browser, service: Service) -> None:
    wanted = [
        "Skip to the live calls", "Incidents", "Webcam", "Check a file", "Add a call", "Alerts", "All 1", "Likely fake",
        "Uncertain", "Likely real", "No face", "Waiting", "Ended", "filter-text", SAMPLE, "Start webcam",
        "Choose files", "whip-url", "Copy", "Add a source", "API reference",
    ]
    with opened(browser, service.url) as watch:
        page = watch.page
        expect_judged(card_of(page, SAMPLE))
        reached: list[str] = []
        for _ in range(len(wanted) + 20):
            page.keyboard.press("Tab")
            outline, name = page.evaluate(
                "() => [getComputedStyle(document.activeElement).outlineStyle,"
                " document.activeElement.textContent.trim() || document.activeElement.id]"
            )
            assert outline != "none" or name == SAMPLE, f"{name} does not show its focus"    # its whole card does
            if name != "Review":      # at alarms, of this call or of earlier ones in the same database
                reached.append(name)
            if len(reached) == len(wanted):
                break
        assert all(name.startswith(start) for name, start in zip(reached, wanted, strict=True)), reached

        start_webcam(watch, lambda button: button.press("Enter"))
        expect(page.get_by_role("button", name="Stop")).to_be_focused()
        page.keyboard.press("Space")
        expect(page.get_by_role("button", name="Start webcam")).to_be_focused()


def test_label_changes_are_announced_but_verdict_ticks_are_not(browser: Browser, service: Service) -> None:
    with opened(browser, service.url) as watch:
        card = card_of(watch.page, SAMPLE)
        expect_judged(card)
        assert card.locator("[aria-live], [role=status], [role=alert]").count() == 0
        expect(watch.page.locator("#announcer")).to_have_attribute("aria-live", "polite")
        start_webcam(watch)
        expect(watch.page.locator("#announcer")).to_have_text(
            re.compile(r"webcam-\w+: (Likely fake|Likely real|Uncertain|No face)\. ?"), timeout=FIRST_VERDICT_MS
        )


def test_a_protected_service_asks_for_its_key(browser: Browser, folder: Path) -> None:
    log = folder / "protected.log"
    with (
        running_service(log, KEY, DEEPGUARD_WORKERS="1", DEEPGUARD_MAX_STREAMS="1") as service,
        opened(browser, service.url) as watch,
        published(service, SAMPLE),
    ):
        page = watch.page
        key = page.get_by_label("API key", exact=True)
        expect(key).to_be_focused()
        key.fill("not-the-key-of-this-service")
        page.keyboard.press("Enter")
        expect(page.locator("#key-error")).to_have_text("The service does not accept this key.")
        page.get_by_role("button", name="Not now").click()
        expect(page.locator("#locked")).to_be_visible()
        page.locator("#locked-key").click()
        key.fill(KEY)
        page.keyboard.press("Enter")
        card = card_of(page, SAMPLE)
        expect_judged(card)
        expect(card).to_have_attribute("data-framed", "")
        assert KEY not in page.content()

        page.get_by_role("button", name="Start webcam").click()     # the one place is taken
        expect(page.locator("#webcam-status")).to_contain_text(re.compile(r"Try again in \d+ s"))
        page.reload()
        expect_judged(card)
        watch.assert_quiet("Failed to load resource", "WebSocket connection")


def test_the_page_survives_the_death_of_the_service(browser: Browser, folder: Path) -> None:
    with (
        running_service(folder / "mortal.log", DEEPGUARD_WORKERS="1") as service,
        opened(browser, service.url) as watch,
    ):
        page = watch.page
        expect(page.locator("#empty")).to_be_visible()
        expect(page.get_by_role("button", name="Check my webcam")).to_be_visible()
        with published(service, SAMPLE):
            expect_judged(card_of(page, SAMPLE))
            service.kill()
            expect(page.locator("#notice-connection")).to_contain_text("The connection was lost")
            expect(page.locator("#connection-text")).to_have_text("Reconnecting")
        service.start()
        expect(page.locator("#connection-text")).to_have_text("Connected", timeout=60_000)
        expect(page.locator("#notice-connection")).to_be_hidden()
        expect(part(card_of(page, SAMPLE), "note")).to_have_text("It ended while this page was offline")
        with published(service, SAMPLE):
            expect_judged(card_of(page, SAMPLE))


def test_without_a_model_the_page_says_so(browser: Browser, folder: Path) -> None:
    (folder / "no-model").mkdir()
    settings = {"DEEPGUARD_WORKERS": "1", "MODEL_PATH": str(folder / "no-model")}
    with (
        running_service(folder / "blind.log", **settings) as service,
        published(service, SAMPLE),
        opened(browser, service.url) as watch,
    ):
        expect(watch.page.locator("#notice-health")).to_contain_text("No detection model is loaded.")
        card = card_of(watch.page, SAMPLE)
        expect(part(card, "label")).to_have_text("Uncertain", timeout=FIRST_VERDICT_MS)
        expect(part(card, "reason")).to_have_text("No detection model is loaded")
        expect(part(card, "prob")).to_have_text(NO_VALUE)
        watch.assert_quiet("503 (Service Unavailable)")      # Chromium's own line about /readyz


def test_a_missing_camera_is_explained(playwright: Playwright, service: Service) -> None:
    with running_chromium(playwright, camera=None) as browser, opened(browser, service.url) as watch:
        watch.page.context.grant_permissions(["camera"])
        watch.page.get_by_role("button", name="Start webcam").click()
        expect(watch.page.locator("#webcam-status")).to_contain_text("No camera was found")
        expect(watch.page.get_by_role("button", name="Start webcam")).to_be_visible()
    with running_chromium(playwright, camera=None) as browser, opened(browser, service.url) as watch:
        watch.page.get_by_role("button", name="Start webcam").click()
        expect(watch.page.locator("#webcam-status")).to_contain_text(re.compile("not allowed|No camera"))


def test_the_page_loads_nothing_from_other_hosts() -> None:
    """No address of another host stands in the page's files, and no code or style in its HTML."""
    files = [path for path in (ROOT / "api" / "dashboard").rglob("*") if path.is_file()]
    addresses = {url for path in files for url in re.findall(r"https?://[\w.]+", path.read_text())}
    assert {url for url in addresses if not url.endswith(".example.com")} <= {"http://www.w3.org"}    # SVG's namespace
    html = (ROOT / "api" / "dashboard" / "index.html").read_text()
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*src=)", html)


def test_dropped_files_are_judged_and_never_replace_the_page(browser: Browser, service: Service) -> None:
    drop = """(target, name) => {
      const data = new DataTransfer();
      data.items.add(new File(['no picture'], name));
      document.querySelector(target).dispatchEvent(
        new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true }));
    }"""
    with opened(browser, service.url) as watch:
        for target, name in (("#drop", "on.jpg"), ("#wall", "beside.jpg")):
            watch.page.evaluate(f"a => ({drop})(...a)", [target, name])
            expect(watch.page.locator(".job").filter(has_text=name)).to_have_attribute("data-state", "failed")
        assert watch.page.url == service.url + "/"
