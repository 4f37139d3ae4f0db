"""From the webcam to an exported incident, in a real browser with the shipped model; and the page of that call."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.e2e.browser_support import (
    PICTURES_WANTED,
    ROOT,
    Watch,
    is_painted,
    opened,
    running_chromium,
    running_service,
    start_webcam,
)
from tests.e2e.fake_face import make_fake_camera
from tests.e2e.tcp_relay import TcpRelay
from tests.e2e.test_panels import expect_accessible

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page, WebSocket

    from tests.e2e.browser_support import Service

ALARM_MS = 90_000
DESKTOP = {"width": 1240, "height": 900}
NOTE = "the mouth does not fit the voice"
PICTURE_IS_THERE = "document.querySelector('#call-picture').naturalWidth === 640"
CURSOR_PX = "document.querySelector('.lane-cursor').getBoundingClientRect().x"
SHIFT_OVER_VERDICTS = """() => new Promise(resolve => {
  let seen = 0;
  const moved = [];
  new PerformanceObserver(list => list.getEntries().forEach(entry => entry.sources.forEach(
    source => moved.push(source.node?.id || source.node?.className || source.node?.nodeName))))
    .observe({ type: 'layout-shift' });
  new MutationObserver(() => { seen += 1; if (seen >= 4) resolve(moved); })
    .observe(document.querySelector('.lane.prob .lane-line'), { attributes: true, attributeFilter: ['d'] });
})"""


class OnAir(NamedTuple):
    """A page with a live webcam, and the name of its call."""

    watch: Watch
    stream: str


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("chain")


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[Service]:
    database = f"sqlite:///{folder}/incidents.sqlite"
    with running_service(folder / "service.log", DEEPGUARD_WORKERS="1", DEEPGUARD_DATABASE_URL=database) as service:
        yield service


@pytest.fixture(scope="module")
def browser(folder: Path) -> Iterator[Browser]:
    """Its camera shows a face that the shipped model takes for a fake."""
    make_fake_camera(ROOT / "tests" / "media" / "biden.jpg", folder / "fake.mjpeg")
    with sync_playwright() as playwright, running_chromium(playwright, folder / "fake.mjpeg") as browser:
        yield browser


@pytest.fixture(scope="module")
def on_air(browser: Browser, service: Service) -> Iterator[OnAir]:
    """The webcam is on, and its alarm was raised."""
    with opened(browser, service.url, viewport=DESKTOP, accept_downloads=True) as watch:
        stream = start_webcam(watch)
        card = watch.page.locator(f".card[data-stream='{stream}']")
        expect(card).to_have_attribute("data-label", "FAKE", timeout=ALARM_MS)
        yield OnAir(watch, stream)


def go_to(page: Page, stream: str) -> None:
    page.evaluate("stream => { location.hash = '#/calls/' + encodeURIComponent(stream) }", stream)


def until(page: Page, expression: str) -> None:
    """Polls, because the page's own rules forbid what `wait_for_function` does."""
    for _ in range(200):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(100)
    pytest.fail(f"waited in vain for {expression}")


def expect_drawn(page: Page) -> None:
    """The page knows the call, and has evidence frames of it."""
    expect(page.locator("#call")).to_have_attribute("data-state", re.compile("live|ended"))
    expect(page.locator(".lane.prob .lane-line").first).to_have_attribute("d", re.compile("^M"))
    expect(page.locator("#call-lanes .lane-pin[data-kind='shot']").nth(1)).to_be_attached(timeout=ALARM_MS)


def test_webcam_verdict_alarm_incident_review_zip_replay(on_air: OnAir, folder: Path) -> None:
    page, stream = on_air.watch.page, on_air.stream
    expect(page.locator("#alarm-status")).to_have_text("1 alarm to review.")
    page.locator("#alarms").get_by_role("button", name=f"Review the alarm of {stream}").click()
    dialog = page.locator("#incident-dialog")
    expect(dialog).to_be_visible()
    expect(page.locator("#incident-statement")).to_have_text(
        re.compile(r"^Face \d+ reached the alarm level .*0\.01 false alarms per hour\.$")
    )
    expect(dialog.locator("figure")).not_to_have_count(0)
    page.get_by_label("Note", exact=True).fill(NOTE)
    page.get_by_role("button", name="It is a fake").click()
    expect(dialog).to_be_hidden()
    expect(page.locator("#alarm-status")).to_have_text("No alarm needs a review.")

    go_to(page, stream)
    expect(page.locator("#call-alarm-list")).to_contain_text("it is a fake")
    page.locator("#call-alarms").get_by_role("button", name="Review the alarm").click()
    expect(page.locator("#incident-notes")).to_contain_text(NOTE)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    download.value.save_as(folder / "incident.zip")
    page.get_by_role("button", name="Close").click()
    _expect_a_match(folder / "incident.zip")
    on_air.watch.assert_quiet()


def _expect_a_match(exported: Path) -> None:
    with zipfile.ZipFile(exported) as bundle:
        told = json.loads(bundle.read("incident.json"))
        assert any(name.startswith("crops/") for name in bundle.namelist())
    assert told["incident"]["review"] == "confirmed"
    assert [note["text"] for note in told["notes"]] == [NOTE]
    replayed = subprocess.run(
        [sys.executable, "-m", "api.cli", "replay", str(exported), "--json"], cwd=ROOT, capture_output=True, check=False
    )
    report = json.loads(replayed.stdout)
    assert (replayed.returncode, report["matches"]) == (0, True), report


def test_the_whole_call_can_be_looked_through_by_keyboard(browser: Browser, service: Service, on_air: OnAir) -> None:
    with opened(browser, service.url, viewport=DESKTOP) as watch:
        page = watch.page
        go_to(page, on_air.stream)
        expect_drawn(page)
        stated = re.compile(r"Alarm at \d+:\d\d.* 0\.01 false alarms per hour")
        expect(page.locator("#call-statement")).to_contain_text(stated)
        expect(page.locator("#call-lanes .lane-pin[data-kind='alarm_opened']").first).to_be_attached()
        expect(page.locator("#call-title")).to_have_text(on_air.stream)

        slider = page.get_by_role("slider", name="Time in the call")
        slider.focus()
        page.keyboard.press("PageUp")
        expect(page.locator("#call-frame-title")).to_have_text(re.compile(r"^Evidence frame at \d+:\d\d$"))
        expect(page.locator("#call-count")).to_have_text(re.compile(r"^\d+ of \d+ evidence frames$"))
        until(page, PICTURE_IS_THERE)
        assert is_painted(page, "#call-heat")
        expect(page.locator("#call-boxes .face")).to_have_count(1)
        page.get_by_label("Heat map", exact=True).uncheck()
        assert page.evaluate("getComputedStyle(document.querySelector('#call-heat')).opacity") == "0"
        expect(page.get_by_role("slider", name="Strength of the heat map")).to_be_disabled()
        told = re.compile(r"^\d+ of 32 bands lie where 90 % of \d+ real faces lie\.")
        expect(page.locator("#call-spectrum-words")).to_contain_text(told)
        expect(page.locator(".spectrum-line")).to_have_attribute("d", re.compile("^M.*L"))

        slider.focus()
        page.keyboard.press("Home")
        expect(slider).to_have_attribute("aria-valuetext", re.compile(r"^0:\d\d: .*probability of a fake"))
        before = slider.get_attribute("aria-valuetext")
        page.keyboard.press("ArrowRight")
        expect(slider).not_to_have_attribute("aria-valuetext", str(before))
        page.keyboard.press("End")
        expect(page.locator("#call-frame-title")).to_have_text("Latest frame")
        expect(page.get_by_role("button", name="Now", exact=True)).to_be_disabled()
        watch.assert_quiet()


def test_the_whole_call_can_be_dragged_along(browser: Browser, service: Service, on_air: OnAir) -> None:
    with opened(browser, service.url, viewport=DESKTOP) as watch:
        page = watch.page
        go_to(page, on_air.stream)
        expect_drawn(page)
        slider = page.get_by_role("slider", name="Time in the call")
        slider.hover(position={"x": 2, "y": 20})
        page.mouse.down()
        expect(page.locator("#call-at")).to_have_text(re.compile(r"^Shown: 0:0"))
        first = page.evaluate(CURSOR_PX)
        slider.hover(position={"x": 30, "y": 20})
        page.mouse.up()
        until(page, f"{CURSOR_PX} > {first + 10}")
        expect(page.locator("#call-verdict-title")).to_have_text(re.compile(r"^Verdict at \d+:\d\d$"))
        page.get_by_role("button", name="Now", exact=True).click()
        expect(page.locator("#call-at")).to_have_text("Following the call")


def test_an_unknown_call_is_reported_as_unknown(browser: Browser, service: Service) -> None:
    with opened(browser, service.url) as watch:
        go_to(watch.page, "nobody's call")
        expect(watch.page.locator("#call-unknown")).to_contain_text("No record of this call")
        expect(watch.page.locator("#call-body")).to_be_hidden()
        expect(watch.page.locator("#call-title")).to_have_text("nobody's call")
        watch.page.get_by_role("link", name="All calls").click()
        expect(watch.page.locator("#home")).to_be_visible()
        watch.assert_quiet("Failed to load resource")


class Heard:
    """The messages of a page's feed, over all its connections, in the order they came."""

    def __init__(self, page: Page) -> None:
        self.messages: list[dict[str, Any]] = []
        page.on("websocket", self._listen)

    @property
    def events(self) -> list[tuple[int, dict[str, Any]]]:
        """Place in the feed, and event."""
        return [(message["offset"], message["event"]) for message in self.messages if message["type"] == "event"]

    @property
    def recovered(self) -> list[bool]:
        return [message["recovered"] for message in self.messages if message["type"] == "subscribed"]

    def changes(self, after: int) -> list[int]:
        """Positions of events that must not be lost: all but repeated verdicts."""
        said: dict[str, tuple[str, str]] = {}
        found = []
        for offset, event in self.events:
            words = event.get("label", ""), event.get("reason", "")
            if event["type"] != "verdict" or said.get(event["stream"]) != words:
                found.append(offset)
            if event["type"] == "verdict":
                said[event["stream"]] = words
        return [offset for offset in found if offset > after]

    def _listen(self, socket: WebSocket) -> None:
        socket.on("framereceived", lambda payload: self.messages.append(json.loads(payload)))


def test_a_cut_network_loses_nothing(browser: Browser, service: Service) -> None:
    """A call that starts, alarms and ends while the page is offline is complete after the reconnect."""
    with TcpRelay(service.port) as cable, browser.new_context() as near, browser.new_context() as far:
        page, other = near.new_page(), far.new_page()
        heard, known = Heard(page), Heard(other)
        page.goto(cable.url + "/")
        other.goto(service.url + "/")
        for each in (page, other):
            expect(each.locator("#connection-text")).to_have_text("Connected")
        cable.cut()
        expect(page.locator("#connection-text")).to_have_text("Reconnecting")
        expect(page.locator("#notice-connection")).to_contain_text("The connection was lost")
        expect(page.locator("#call")).to_have_attribute("data-stale", "")
        cut_at = max((offset for offset, _ in heard.events), default=0)

        stream = start_webcam(Watch(other, service.url))
        card = other.locator(f".card[data-stream='{stream}']")
        expect(card).to_have_attribute("data-label", "FAKE", timeout=ALARM_MS)
        go_to(page, stream)     # the service is down
        expect(page.locator("#call-trouble")).to_have_text("The service cannot be reached.")
        other.locator("#webcam-stop").click()
        expect(card.locator("[data-part='state']")).to_have_text("Ended")

        cable.mend()
        expect(page.locator("#connection-text")).to_have_text("Connected", timeout=60_000)
        expect(page.locator("#call")).to_have_attribute("data-state", "ended")
        expect(page.locator("#call-label")).to_have_text("Likely fake")
        expect(page.locator("#call-lanes .lane-pin[data-kind='alarm_opened']")).not_to_have_count(0)
        page.get_by_role("link", name="All calls").click()
        expect(page.locator("#alarm-status")).to_contain_text("to review")
        missed = known.changes(cut_at)
        assert missed
        while max((offset for offset, _ in heard.events), default=0) < missed[-1]:
            page.wait_for_timeout(100)
        first, *again = heard.recovered
        assert not first
        assert again
        assert all(again)
        offsets = [offset for offset, _ in heard.events if offset > cut_at]
        assert offsets == sorted(set(offsets)), "each once, in order"
        assert set(missed) <= set(offsets)
        kinds = {event["type"] for offset, event in heard.events if offset > cut_at}
        assert {"stream.started", "verdict", "incident.opened", "incident.closed", "stream.ended"} <= kinds


@pytest.mark.timeout(300)
def test_the_call_is_fit_to_be_seen(browser: Browser, service: Service, on_air: OnAir, folder: Path) -> None:
    """Light, dark and on a phone, and nothing moves. The pictures are for the docs, where they are asked for
    (`make screenshots`)."""
    target = ROOT / "docs" if PICTURES_WANTED else folder
    with opened(browser, service.url, viewport=DESKTOP, color_scheme="light") as watch:
        page = watch.page
        go_to(page, on_air.stream)
        expect_drawn(page)
        if PICTURES_WANTED:
            page.wait_for_timeout(45_000)       # for something to see on the timeline
        page.locator("#call-previous").click()
        page.locator("#call-previous").click()
        until(page, PICTURE_IS_THERE)
        page.screenshot(path=target / "call.png", full_page=True)
        page.emulate_media(color_scheme="dark")
        assert sum(map(int, re.findall(r"\d+", page.evaluate("getComputedStyle(document.body).backgroundColor")))) < 200
        page.screenshot(path=target / "call-dark.png", full_page=True)
        page.emulate_media(color_scheme="light")
        page.set_viewport_size({"width": 360, "height": 740})
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        page.screenshot(path=target / "call-phone.png", full_page=True)
        assert all((target / f"call{part}.png").stat().st_size > 20_000 for part in ("", "-dark", "-phone"))
        assert page.evaluate(SHIFT_OVER_VERDICTS) == []
        expect_accessible(page, [("light", {"width": 360, "height": 740}), ("dark", DESKTOP)])
        watch.assert_quiet()
