"""The page's pure modules, run where they run: in a browser. No service is needed."""

from __future__ import annotations

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import sync_playwright

from api.auth import bearer_of_subprotocols
from stream.events import REASON_TEXT
from stream.types import CloseReason, EndReason
from tests.e2e.browser_support import ROOT, running_chromium

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves files without a line per request."""

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """An empty page of a server that has the dashboard's files."""
    handler = partial(QuietHandler, directory=str(ROOT / "api" / "dashboard"))
    with (
        ThreadingHTTPServer(("127.0.0.1", 0), handler) as server,
        sync_playwright() as playwright,
        running_chromium(playwright, camera=None) as browser,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{server.server_address[1]}/static/icon.svg")
        yield page
        server.shutdown()


def module(page: Page, name: str, expression: str, argument: Any = None) -> Any:
    """The value of `expression` with `m` the module and `a` the argument."""
    script = f"async a => {{ const m = await import('/static/js/{name}.js'); return {expression}; }}"
    return page.evaluate(script, argument)


def test_reasons_have_the_words_of_the_service(page: Page) -> None:
    assert module(page, "format", "m.REASONS") == {reason.value: text for reason, text in REASON_TEXT.items()}
    ends = {reason.value for reason in EndReason} | {"lost"}
    assert set(module(page, "format", "Object.keys(m.END_REASONS)")) == ends
    assert module(page, "format", "Object.keys(m.CLOSE_REASONS)") == [reason.value for reason in CloseReason]


@pytest.mark.parametrize("key", ["plain-key-0123456789", "with+/=~._-0123456789"])
def test_keys_travel_as_the_service_reads_them(page: Page, key: str) -> None:
    offered = module(page, "ws", "m.subprotocols(a)", key)
    assert offered[0] == "deepguard.v1"
    assert bearer_of_subprotocols(offered) == key


def test_back_off_grows_and_is_bounded(page: Page) -> None:
    waits = module(page, "ws", "[0, 1, 2, 3, 20].map(n => [m.backoffMs(n, 0), m.backoffMs(n, 1)])")
    assert waits == [[250, 500], [500, 1000], [1000, 2000], [2000, 4000], [7500, 15000]]


@pytest.mark.parametrize(
    ("p", "words"),
    [(None, "\u2013"), (0, "< 1 %"), (0.004, "< 1 %"), (0.5, "50 %"), (0.9951, "> 99 %"), (1, "> 99 %")],
)
def test_a_probability_never_reads_as_certainty(page: Page, p: float | None, words: str) -> None:
    assert module(page, "format", "m.probability(a)", p).replace("\u202f", " ") == words


def verdict(sequence: int, **fields: Any) -> dict[str, Any]:
    return {
        "type": "verdict", "stream": "a", "epoch": 1, "sequence": sequence, "start_s": 0, "end_s": sequence / 2,
        "label": "REAL", "reason": "evidence_real", "prob_fake": 0.1, "faces": [], **fields,
    }


def started(stream: str = "a", epoch: int = 1, **fields: Any) -> dict[str, Any]:
    return {"type": "stream.started", "stream": stream, "epoch": epoch, "source": "whip", "started_s": 5, **fields}


ENDED = {"type": "stream.ended", "stream": "a", "epoch": 1, "reason": "stopped", "message": ""}


def reduced(page: Page, *actions: dict[str, Any]) -> list[dict[str, Any]]:
    """The streams, in the order of the wall, after these actions."""
    run = "m.ordered(a.reduce((state, action) => m.reduce(state, action), m.INITIAL).streams)"
    views: list[dict[str, Any]] = module(page, "store", run, [{"nowMs": 0, **action} for action in actions])
    return views


def events(*items: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"type": "event", "event": item} for item in items]


def test_repeats_and_old_epochs_change_nothing(page: Page) -> None:
    once = reduced(page, *events(started(epoch=2), verdict(4, epoch=2)))
    repeats = [verdict(4, epoch=2), verdict(3, epoch=2), verdict(9), ENDED]
    assert once == reduced(page, *events(started(epoch=2), verdict(4, epoch=2), *repeats))
    assert [point["x"] for point in once[0]["history"]] == [2]


def test_a_new_epoch_starts_afresh(page: Page) -> None:
    [view] = reduced(page, *events(started(), verdict(1), ENDED, started(epoch=2)))
    assert (view["epoch"], view["verdict"], view["history"], view["ended"]) == (2, None, [], None)


def test_history_is_bounded_and_gaps_stay_gaps(page: Page) -> None:
    gap = {"type": "stream.gap", "stream": "a", "epoch": 1, "cause": "worker_lost", "from_s": 150}
    [view] = reduced(page, *events(started(), *(verdict(n) for n in range(1, 301)), gap))
    assert 60 <= len(view["history"]) / 2 <= 66
    assert view["history"][-1] == {"x": 150, "p": None, "label": "NO_FACE"}


def test_what_a_snapshot_leaves_out_has_ended(page: Page) -> None:
    snapshot = {"type": "snapshot", "events": [started("b"), verdict(1, stream="b")]}
    views = reduced(page, *events(started(), started("b")), snapshot)
    assert [(view["id"], (view["ended"] or {}).get("reason")) for view in views] == [("a", "lost"), ("b", None)]


def test_ended_streams_leave_after_a_while(page: Page) -> None:
    stays_ms = module(page, "store", "m.ENDED_STAYS_MS")
    def at(now_ms: int) -> list[dict[str, Any]]:
        return reduced(page, *events(started(), ENDED), {"type": "expire", "nowMs": now_ms})
    assert len(at(stays_ms - 1)) == 1
    assert at(stays_ms) == []


def test_the_wall_is_ordered_by_start(page: Page) -> None:
    items = [started("late", started_s=9), started("b"), started("a"), verdict(1, stream="b", label="FAKE")]
    assert [view["id"] for view in reduced(page, *events(*items))] == ["a", "b", "late"]


@pytest.mark.parametrize(
    ("decision", "suspicions", "level"),
    [(None, [0.4], None), ({}, [], 0), ({}, [0.4, 0.7], 0.7), ({}, [-0.1], 0), ({}, [1.4], 1)],
)
def test_the_alarm_level_is_that_of_the_most_suspicious_face(
    page: Page, decision: dict[str, Any] | None, suspicions: list[float], level: float | None
) -> None:
    faces = [{"suspicion": suspicion} for suspicion in suspicions]
    assert module(page, "store", "m.alarmLevel(a)", verdict(1, decision=decision, faces=faces)) == level


def test_charts_break_at_gaps(page: Page) -> None:
    points = [{"x": x, "p": None if x in (3, 4) else 0.5} for x in (0, 1, 2, 3, 4, 5, 6, 12, 13)]
    runs = module(page, "chart", "m.runs(a, 2).map(run => run.map(point => point.x))", points)
    assert runs == [[0, 1, 2], [5, 6], [12, 13]]
    assert module(page, "chart", "m.gaps(a, {from: 0, to: 13, maxStep: 2})", points) == [[2, 5], [6, 12]]
