"""An alarm on the dashboard: shown with its evidence, reviewed, downloaded and replayed."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import cv2
import msgspec
import numpy as np
import pytest
from playwright.sync_api import expect, sync_playwright

from api.incidents.replay_bundle import replay_incident
from stream.preview_pictures import jpeg_of
from stream.types import Pictures
from tests.api.calls import running_call
from tests.api.conftest import KEY
from tests.api.rig import Rig, running_rig
from tests.e2e.browser_support import PORTRAIT, opened, running_chromium
from tests.stream.cases import opened_case, over

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    from stream.incident_case import IncidentCase
    from stream.types import Observation


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with running_rig(api_keys=KEY) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright, running_chromium(playwright, camera=None) as browser:
        yield browser


def alarmed(rig: Rig, stream: str, epoch: int | None = None) -> IncidentCase:
    case = msgspec.structs.replace(opened_case(stream), opened_s=time.time(), pictured=pictured(stream))
    if epoch is not None:
        origin = msgspec.structs.replace(case.origin, epoch=epoch)
        verdict = msgspec.structs.replace(case.verdict, epoch=epoch, id=f"{stream}/{epoch}/{case.verdict.sequence}")
        case = msgspec.structs.replace(case, origin=origin, verdict=verdict)
    rig.call(rig.context.service.event_sink.alarm, case)
    return case


def pictured(stream: str) -> tuple[Observation, ...]:
    """A portrait instead of noise."""
    rgb = np.ascontiguousarray(cv2.imread(str(PORTRAIT))[:, :, ::-1])
    jpeg = jpeg_of(np.asarray(cv2.resize(rgb, (640, 360)), np.uint8), 80)
    crop = bytes(cv2.imencode(".png", cv2.resize(rgb, (224, 224))[:, :, ::-1])[1])
    shown = []
    for seen in opened_case(stream).pictured:
        assert seen.pictures is not None
        faces = tuple(msgspec.structs.replace(face, png=crop) for face in seen.pictures.faces)
        shown.append(msgspec.structs.replace(seen, pictures=Pictures(jpeg=jpeg, faces=faces)))
    return tuple(shown)


def unlocked(page: Page) -> None:
    key = page.get_by_label("API key", exact=True)
    key.fill(KEY)
    page.keyboard.press("Enter")
    expect(page.locator("#connection-text")).to_have_text(re.compile("Live|Connected"))


def test_an_alarm_is_shown_reviewed_and_stored(browser: Browser, rig: Rig, tmp_path: Path) -> None:
    with opened(browser, rig.url, viewport={"width": 1440, "height": 1000}, accept_downloads=True) as watch:
        page = watch.page
        unlocked(page)
        panel = page.locator("#alarms")
        expect(panel).to_be_hidden()
        case = alarmed(rig, "call-in-question")
        expect(page.locator("#alarm-status")).to_have_text("1 alarm to review.")
        panel.get_by_role("button", name="Review the alarm of somebody").click()
        dialog = page.locator("#incident-dialog")
        expect(dialog).to_be_visible()
        expect(dialog.locator("figure")).to_have_count(len(case.pictured))
        expect(dialog.locator(".evidence-box")).to_have_count(len(case.pictured))
        page.wait_for_function("[...document.querySelectorAll('#incident-dialog img')].every(i => i.naturalWidth > 0)")
        page.get_by_label("Note", exact=True).fill("the mouth does not fit the voice")
        page.get_by_role("button", name="Add the note").click()
        expect(dialog.locator("#incident-notes li")).to_contain_text("the mouth does not fit the voice")
        with page.expect_download() as download:
            page.get_by_role("button", name="Download").click()
        download.value.save_as(tmp_path / "incident.zip")
        assert replay_incident(tmp_path / "incident.zip", None).matches
        page.get_by_role("button", name="It is a fake").click()
        expect(dialog).to_be_hidden()
        expect(page.locator("#alarm-status")).to_have_text("No alarm needs a review.")
        watch.assert_quiet("Failed to load resource", "WebSocket connection")
    with rig.client(KEY) as client:
        answer = client.get(f"/v1/incidents/{case.id}").json()
    assert (answer["review"], [note["decision"] for note in answer["notes"]]) == ("confirmed", ["note", "confirm"])


def test_open_alarms_are_shown_to_a_page_opened_later(browser: Browser, rig: Rig) -> None:
    alarmed(rig, "earlier")
    with opened(browser, rig.url, viewport={"width": 360, "height": 740}) as watch:
        page = watch.page
        unlocked(page)
        look = page.get_by_role("button", name="Review the alarm of somebody").first
        expect(look).to_be_visible()
        look.focus()
        page.keyboard.press("Enter")
        expect(page.locator("#incident-dialog")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        page.keyboard.press("Escape")
        expect(page.locator("#incident-dialog")).to_be_hidden()
        watch.assert_quiet("Failed to load resource", "WebSocket connection")


def test_an_alarm_is_not_missed_on_any_page_until_it_is_reviewed(browser: Browser, rig: Rig) -> None:
    """By title, icon, sound and notification, also while another page of the dashboard is open."""
    review_all(rig)
    with opened(browser, rig.url) as watch, running_call(rig, "somewhere-else"):
        page = watch.page
        page.context.grant_permissions(["notifications"])
        unlocked(page)
        expect(page).to_have_title("DeepGuard")
        page.evaluate("""() => {
          window.told = [];
          window.Notification = class extends window.Notification {
            constructor(title, options) { super(title, options); window.told.push(`${title}: ${options.body}`); }
          };
          window.tones = 0;
          const start = OscillatorNode.prototype.start;
          OscillatorNode.prototype.start = function (at) { window.tones += 1; start.call(this, at); };
        }""")
        page.get_by_text("Alerts", exact=True).click()
        page.get_by_label("Sound for a new alarm").check()
        page.get_by_label("Desktop notification").check()
        assert page.evaluate("window.tones") == 2, "the person hears the sound once"
        page.evaluate("location.hash = '#/calls/somewhere-else'")
        expect(page.locator("#call-title")).to_be_visible()
        case = alarmed(rig, "missed")
        expect(page).to_have_title("(1) Alarm to review \u2013 DeepGuard")
        expect(page.locator("link[rel=icon]")).to_have_attribute("href", "static/icon-alarm.svg")
        assert page.evaluate("window.told") == ["Likely fake on a call: somebody"]
        assert page.evaluate("window.tones") == 4
        over_now = over(case)
        rig.call(rig.context.service.event_sink.alarm, over_now)
        expect(page.locator("#alarm-list .alarm[data-closed]")).to_have_count(1)
        expect(page).to_have_title("(1) Alarm to review \u2013 DeepGuard")
        review_all(rig)
        page.reload()
        expect(page.locator("#connection-text")).to_have_text(re.compile("Live|Connected"))
        expect(page).to_have_title("DeepGuard")
        expect(page.locator("link[rel=icon]")).to_have_attribute("href", "static/icon.svg")
        expect(page.get_by_label("Sound for a new alarm")).to_be_checked()
        watch.assert_quiet("Failed to load resource", "WebSocket connection")


def test_a_card_keeps_its_unreviewed_alarm_and_stands_above_quiet_calls(browser: Browser, rig: Rig) -> None:
    review_all(rig)
    with opened(browser, rig.url) as watch, running_call(rig, "quiet"), running_call(rig, "noisy"):
        page = watch.page
        unlocked(page)
        cards = page.locator("#cards .card")
        expect(cards).to_have_count(2)
        expect(page.locator(".card[data-stream='noisy'] .card-alarm")).to_be_hidden()
        with rig.client(KEY) as client:
            epoch = client.get("/v1/streams/noisy").json()["epoch"]
        alarmed(rig, "noisy", epoch)
        alarmed(rig, "quiet", epoch - 1)        # of an earlier call with this name
        line = page.locator(".card[data-stream='noisy'] .card-alarm")
        expect(line).to_have_text(re.compile(r"^1 alarm at \d+:\d\d, not reviewed$"))
        expect(page.locator(".card[data-stream='quiet'] .card-alarm")).to_be_hidden()
        expect(cards.first).to_have_attribute("data-stream", "noisy")
        review_all(rig)
        expect(line).to_be_hidden(timeout=40_000)       # reviewed on another page
        watch.assert_quiet("Failed to load resource", "WebSocket connection")


def test_an_incident_among_many_is_found_reviewed_and_undone(browser: Browser, rig: Rig) -> None:
    """Three steps lead to one of hundreds: the page, the search, the incident."""
    review_all(rig)
    store = rig.context.incidents.publisher._store
    for number in range(220):
        case = msgspec.structs.replace(opened_case(f"crowd-{number}"), opened_s=time.time() - number, pictured=())
        store.save(case)
    with opened(browser, rig.url, viewport={"width": 1200, "height": 900}) as watch:
        page = watch.page
        unlocked(page)
        page.get_by_role("link", name="Incidents", exact=True).click()
        rows = page.locator("#incident-list > li")
        expect(rows).to_have_count(50)
        page.get_by_role("button", name="Show more").click()
        expect(rows).to_have_count(100)
        page.get_by_label("Find an incident").fill("CROWD-173")
        expect(rows).to_have_count(1)
        rows.get_by_role("link").click()
        dialog = page.locator("#incident-dialog")
        expect(dialog).to_be_visible()
        found = dialog.locator("#incident-id").inner_text()
        expect(page).to_have_url(re.compile(f"#/incidents/{found}$"))
        page.get_by_role("button", name="It is a fake").click()
        expect(rows.locator(".incident-review")).to_contain_text("it is a fake by ")
        expect(page).to_have_url(re.compile("#/incidents$"))
        rows.get_by_role("link").click()
        expect(dialog).to_be_visible()
        page.reload()       # the address alone leads there
        expect(dialog).to_be_visible()
        page.get_by_role("button", name="Undo the review").click()
        page.get_by_label("Find an incident").fill("crowd-17")
        page.get_by_label("Review", exact=True).select_option("open")
        expect(rows).to_have_count(11)
        page.get_by_label("All shown").check()
        page.get_by_role("button", name="False alarm (11)").click()
        expect(page.locator("#incident-status")).to_have_text("No incident matches.")
        page.get_by_label("Review", exact=True).select_option("dismissed")
        expect(rows).to_have_count(11)
        watch.assert_quiet("Failed to load resource", "WebSocket connection")
    review_all(rig)


def review_all(rig: Rig) -> None:
    with rig.client(KEY) as client:
        for incident in client.get("/v1/incidents?review=open&limit=200").json()["incidents"]:
            client.post(f"/v1/incidents/{incident['id']}/review", json={"decision": "dismiss"}).raise_for_status()


def test_a_call_is_locked_without_a_key_and_its_alarms_outlive_it(browser: Browser, rig: Rig) -> None:
    case = alarmed(rig, "long-over")
    with opened(browser, rig.url) as watch:
        page = watch.page
        page.evaluate("location.hash = '#/calls/long-over'")
        page.get_by_role("button", name="Not now").click()
        expect(page.locator("#call-locked")).to_be_visible()
        expect(page.locator("#call-body")).to_be_hidden()
        page.locator("#call-key").click()
        unlocked(page)
        expect(page.locator("#call-trouble")).to_contain_text("samples stored with its alarm")
        kept = len(case.pictured)
        expect(page.locator("#call-count")).to_have_text(f"{kept} evidence frames")
        expect(page.locator(".lane.prob .lane-line").first).to_have_attribute("d", re.compile("^M.*L"))
        expect(page.locator("#call-lanes .lane-pin[data-kind='alarm_opened']")).to_have_count(1)
        expect(page.locator("#call-label")).to_have_text("Likely fake")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        page.get_by_role("slider", name="Time in the call").press("PageUp")
        expect(page.locator("#call-count")).to_have_text(f"{kept} of {kept} evidence frames")
        page.locator("#call-alarms").get_by_role("button", name="Review the alarm of somebody").click()
        rules = case.rules.decision
        expect(page.locator("#incident-statement")).to_contain_text(f"allows {rules.false_alarms_per_hour:g} false")
        page.get_by_role("button", name="False alarm").click()
        expect(page.locator("#call-alarm-list")).to_contain_text("false alarm")
        expect(page.locator("#call-alarms")).to_be_focused()
        watch.assert_quiet("Failed to load resource", "WebSocket connection")


def test_a_call_before_its_first_verdict_shows_its_other_participants(browser: Browser, rig: Rig) -> None:
    with opened(browser, rig.url) as watch:
        page = watch.page
        unlocked(page)
        with running_call(rig, "ann"), running_call(rig, "bob"):
            page.evaluate("location.hash = '#/calls/ann'")
            expect(page.locator("#call-state")).to_have_text("Live")
            expect(page.locator("#call-trouble")).to_have_text("Waiting for the first verdict.")
            expect(page.locator("#call-label")).to_have_text("Waiting")
            expect(page.locator("#call-count")).to_have_text("No evidence frames")
            expect(page.locator("#call-alarm-status")).to_have_text("None so far.")
            others = page.get_by_role("navigation", name="Other participants")
            expect(others.get_by_role("link")).to_have_attribute("href", "#/calls/bob")
            others.get_by_role("link").click()
            expect(page.locator("#call-source")).to_contain_text("bob")
        expect(page.locator("#call-state")).to_have_text("Ended: stopped by an operator")
        expect(page.locator("#call-trouble")).to_contain_text("The call has ended")
        watch.assert_quiet("Failed to load resource", "WebSocket connection")
