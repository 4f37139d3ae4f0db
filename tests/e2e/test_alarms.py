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
from tests.stream.cases import opened_case

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


def alarmed(rig: Rig, stream: str) -> IncidentCase:
    case = msgspec.structs.replace(opened_case(stream), opened_s=time.time(), pictured=pictured(stream))
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
        page.get_by_role("button", name="Confirm").click()
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
        page.get_by_role("button", name="Dismiss").click()
        expect(page.locator("#call-alarm-list")).to_contain_text("dismissed")
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
