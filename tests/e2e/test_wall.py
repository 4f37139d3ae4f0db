"""The wall in a real Chromium: order, calls, filter, focus, announcements, and a stable layout with sixty cards."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect, sync_playwright

from stream.events import Label, Reason
from tests.api.rig import running_rig
from tests.e2e.browser_support import opened, running_chromium
from tests.e2e.stage import FAKE, NO_FACE, REAL, SUSPECT, Line, Stage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

    from tests.api.rig import Rig

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

NO_PICTURE = "404 (Not Found)"      # Chromium's own line: streams of the stage have no frames
CARDS = 60
SHIFT_MAX = 0.01
WATCH_SHIFTS = """() => {
  window.shifts = 0;
  new PerformanceObserver(list => list.getEntries().forEach(entry => { window.shifts += entry.value; }))
    .observe({ type: 'layout-shift' });
}"""


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with running_rig() as rig:
        yield rig


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright, running_chromium(playwright, camera=None) as browser:
        yield browser


@pytest.fixture
def stage(rig: Rig) -> Iterator[Stage]:
    stage = Stage(rig)
    yield stage
    for name in stage.actors:
        stage.leave(name)


def expect_order(page: Page, *names: str) -> None:
    """These cards are shown, in this order, once it comes to be so."""
    shown = "[...document.querySelectorAll('.card-slot:not([hidden]) .card')].map(card => card.dataset.stream).join()"
    page.wait_for_function(f"wanted => {shown} === wanted", arg=",".join(names))


def test_calls_stand_together_in_order_of_suspicion(browser: Browser, rig: Rig, stage: Stage) -> None:
    with opened(browser, rig.url) as watch:
        for name, call, who in (
            ("door", "", ""), ("ann", "board", "Ann"), ("bob", "board", "Bob"), ("solo", "interview", "Cem"),
        ):
            stage.enter(name, call, who)
            stage.say(name, Line())
        expect_order(watch.page, "door", "ann", "bob", "solo")
        stage.say("bob", SUSPECT)
        expect_order(watch.page, "bob", "ann", "door", "solo")
        stage.say("solo", FAKE)
        expect_order(watch.page, "solo", "bob", "ann", "door")
        slots = watch.page.locator("#cards > li")
        expect(slots.nth(1)).to_contain_text("Call board 2 participants, 2 uncertain")
        assert [slots.nth(n).get_attribute("data-group") for n in range(4)] == ["none", "first", "last", "none"]
        expect(slots.nth(0)).to_contain_text("Cem · call interview")
        card = slots.nth(0).locator(".card")
        expect(card.locator(".plot-marks i[data-kind='opened']")).to_have_count(1)
        stage.say("solo", SUSPECT)
        stage.say("solo", FAKE)
        expect(card.locator(".plot-marks i")).to_have_count(3)
        expect(card.locator(".plot svg")).to_have_attribute("aria-label", re.compile("2 alarms opened"))
        card.get_by_role("link", name="solo").click()
        expect(watch.page.locator("#call-title")).to_be_visible()
        expect(watch.page).to_have_url(re.compile("#/calls/solo$"))
        watch.assert_quiet(NO_PICTURE)


def test_the_wall_shows_what_is_asked_for(browser: Browser, rig: Rig, stage: Stage) -> None:
    with opened(browser, rig.url) as watch:
        page = watch.page
        for name, line in (("fake", FAKE), ("calm", Line()), ("empty", NO_FACE), ("clear", REAL)):
            stage.enter(name, participant_id=f"{name}-person")
            stage.say(name, line)
        stage.enter("new")
        expect_order(page, "fake", "calm", "empty", "clear", "new")      # clear, but not for long enough to go last
        for words in ("All 5", "Likely fake 1", "Uncertain 1", "Likely real 1", "No face 1", "Waiting 1"):
            expect(page.get_by_role("button", name=words)).to_be_visible()
        page.get_by_role("button", name="Likely real").click()
        expect_order(page, "clear")
        expect(page.get_by_role("button", name="Likely real")).to_have_attribute("aria-pressed", "true")
        page.get_by_label("Find a call").fill("FAKE-p")
        expect(page.locator("#unmatched")).to_be_visible()
        page.get_by_role("button", name="Show all calls").click()
        page.get_by_label("Find a call").fill("FAKE-p")
        expect_order(page, "fake")
        page.get_by_label("Find a call").fill("")
        expect_order(page, "fake", "calm", "empty", "clear", "new")


def test_a_card_keeps_the_focus_while_it_moves(browser: Browser, rig: Rig, stage: Stage) -> None:
    with opened(browser, rig.url) as watch:
        for name in ("one", "two", "three"):
            stage.enter(name)
            stage.say(name, Line())
        expect_order(watch.page, "one", "two", "three")
        link = watch.page.get_by_role("link", name="three")
        link.focus()
        stage.say("three", FAKE)
        expect_order(watch.page, "three", "one", "two")
        expect(link).to_be_focused()
        stage.say("two", FAKE)
        stage.say("one", SUSPECT)
        expect_order(watch.page, "two", "three", "one")
        expect(link).to_be_focused()


def test_a_silent_source_and_an_ended_call_say_so(browser: Browser, rig: Rig, stage: Stage) -> None:
    with opened(browser, rig.url) as watch:
        stage.enter("quiet")
        stage.say("quiet", Line(coverage=0.4))
        note = watch.page.locator("[data-part='note']")
        expect(watch.page.locator(".card")).to_have_attribute("data-label", "UNCERTAIN")
        stage.stall("quiet")
        expect(note).to_have_text("No video from the source")
        stage.say("quiet", Line(Label.UNCERTAIN, Reason.LOW_COVERAGE))
        expect(note).to_have_text("Waiting for the first frame")
        expect(watch.page.locator("[data-part='reason']")).to_have_text("Too little of the media could be examined")
        stage.leave("quiet")
        expect(note).to_have_text("The sender left")
        expect(watch.page.locator("[data-part='state']")).to_have_text("Ended")


def test_sixty_cards_neither_jump_nor_flood(browser: Browser, rig: Rig, stage: Stage) -> None:
    with opened(browser, rig.url, viewport={"width": 1440, "height": 960}) as watch:
        page = watch.page
        names = [f"s{n:02}" for n in range(CARDS)]
        for n, name in enumerate(names):
            stage.enter(name, call_id=f"call{n // 3}" if n % 5 == 0 else "")
            stage.say(name, Line())
        expect(page.locator(".card[data-label='UNCERTAIN']")).to_have_count(CARDS)
        page.evaluate(WATCH_SHIFTS)
        page.evaluate("""() => {
          window.told = [];
          new MutationObserver(() => window.told.push(document.querySelector('#announcer').textContent))
            .observe(document.querySelector('#announcer'), { childList: true });
        }""")
        for turn in range(4):
            for n, name in enumerate(names):
                line = FAKE if n % 20 == turn else SUSPECT if n % 7 == turn else REAL if n % 2 else Line()
                stage.say(name, line)
        fakes = [name for n, name in enumerate(names) if n % 20 == 3]
        expect(page.locator(".card[data-label='FAKE']")).to_have_count(len(fakes))
        expect(page.get_by_role("button", name=f"Likely fake {len(fakes)}")).to_be_visible()
        page.wait_for_function("() => window.told.some(words => words.includes('more calls changed'))")
        assert max(len(words) for words in page.evaluate("window.told")) < 200
        assert page.evaluate("window.shifts") <= SHIFT_MAX
        watch.assert_quiet(NO_PICTURE)
