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
    return [view for group in groups(page, *actions) for view in group["members"]]


def groups(page: Page, *actions: dict[str, Any]) -> list[dict[str, Any]]:
    run = (
        "(await import('/static/js/order.js'))"
        ".grouped(a.reduce((state, action) => m.reduce(state, action), m.INITIAL).streams)"
    )
    found: list[dict[str, Any]] = module(page, "store", run, [{"nowMs": 0, **action} for action in actions])
    return found


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


def watched(stream: str, level: float, **fields: Any) -> dict[str, Any]:
    """A face on its way to an alarm."""
    faces = [{"suspicion": level}]
    return verdict(1, stream=stream, label="UNCERTAIN", prob_fake=0.5, decision={}, faces=faces, **fields)


def test_the_most_suspicious_come_first_and_then_who_came_first(page: Page) -> None:
    items = [
        verdict(1, stream="real"), verdict(1, stream="empty", label="NO_FACE", prob_fake=None), started("new"),
        watched("calm", 0.1), watched("risen", 0.8), verdict(1, stream="fake", label="FAKE"),
        started("later", started_s=9), watched("later", 0.1), started("calm", started_s=5),
    ]
    later_ms = module(page, "order", "m.EASE_MS")
    eased = [{"type": "event", "event": verdict(n, stream="real"), "nowMs": n * later_ms} for n in (2, 3)]
    views = reduced(page, *events(*items), *eased)
    assert [view["id"] for view in views] == ["fake", "risen", "calm", "later", "new", "empty", "real"]


def test_a_call_stands_where_its_most_suspicious_participant_would(page: Page) -> None:
    items = [
        started("a", call_id="one"), started("b"), started("c", call_id="one"), watched("a", 0), watched("b", 0.3),
        watched("c", 0.9),
    ]
    found = groups(page, *events(*items))
    assert [(group["callId"], [view["id"] for view in group["members"]]) for group in found] == [
        ("one", ["c", "a"]), ("", ["b"]),
    ]


def test_cards_rise_at_once_and_fall_late(page: Page) -> None:
    ease_ms = module(page, "order", "m.EASE_MS")
    def rank_at(*seen: tuple[int, float]) -> int:
        rank = "a.reduce((held, [nowMs, rank]) => m.eased(held, rank, nowMs), {rank: 3, lowerSinceMs: null}).rank"
        return int(module(page, "order", rank, seen))
    assert rank_at((0, 5)) == 5
    assert rank_at((0, 2), (ease_ms - 1, 2)) == 3
    assert rank_at((0, 2), (ease_ms, 2)) == 2
    assert rank_at((0, 2), (ease_ms - 1, 3), (ease_ms, 2)) == 3


@pytest.mark.parametrize(
    ("label", "text", "found"),
    [
        ("", "", ["f", "r", "w"]), ("FAKE", "", ["f"]), ("WAITING", " ROOM", ["w"]), ("", "ann", ["r"]),
        ("REAL", "f", []),
    ],
)
def test_streams_are_found_by_label_and_name(page: Page, label: str, text: str, found: list[str]) -> None:
    items = [
        verdict(1, stream="f", label="FAKE"), started("r", participant_id="Ann"), verdict(1, stream="r"),
        started("w", call_id="Room 1"),
    ]
    matching = [
        view["id"] for view in reduced(page, *events(*items))
        if module(page, "order", "m.matches(...a)", [view, {"label": label, "text": text}])
    ]
    assert sorted(matching) == found


def test_a_silent_source_is_known_until_it_speaks(page: Page) -> None:
    stalled = {"type": "stream.stalled", "stream": "a", "epoch": 1, "silent_s": 5, "from_s": 1}
    assert reduced(page, *events(started(), verdict(1), stalled))[0]["stalled"] is True
    assert reduced(page, *events(started(), stalled, verdict(1)))[0]["stalled"] is False


def test_many_changes_are_told_in_one_short_sentence(page: Page) -> None:
    views = reduced(page, *events(*(verdict(1, stream=f"s{n}", label="FAKE" if n == 6 else "REAL") for n in range(8))))
    one = module(page, "announcer", "m.spoken([a])", views[0])
    assert one == "s6: Likely fake. The evidence for an unmanipulated face passed the lower bound."
    many = module(page, "announcer", "m.spoken(a)", views)
    assert many.startswith("s6: Likely fake. s0: Likely real.")
    assert many.endswith("5 more calls changed.")


def test_alarms_are_marked_where_they_open_and_end(page: Page) -> None:
    points = [{"x": x, "p": 0.5, "open": x in (2, 3, 6)} for x in range(8)]
    assert module(page, "chart", "m.alarmMarks(a).map(mark => [mark.x, mark.kind])", points) == [
        [2, "opened"], [4, "over"], [6, "opened"], [7, "over"],
    ]


@pytest.mark.parametrize(
    ("decision", "suspicions", "level"),
    [(None, [0.4], None), ({}, [], 0), ({}, [0.4, 0.7], 0.7), ({}, [-0.1], 0), ({}, [1.4], 1)],
)
def test_the_alarm_level_is_that_of_the_most_suspicious_face(
    page: Page, decision: dict[str, Any] | None, suspicions: list[float], level: float | None
) -> None:
    faces = [{"suspicion": suspicion} for suspicion in suspicions]
    assert module(page, "order", "m.alarmLevel(a)", verdict(1, decision=decision, faces=faces)) == level


def test_charts_break_at_gaps(page: Page) -> None:
    points = [{"x": x, "p": None if x in (3, 4) else 0.5} for x in (0, 1, 2, 3, 4, 5, 6, 12, 13)]
    runs = module(page, "chart", "m.runs(a, 2).map(run => run.map(point => point.x))", points)
    assert runs == [[0, 1, 2], [5, 6], [12, 13]]
    assert module(page, "chart", "m.gaps(a, {from: 0, to: 13, maxStep: 2})", points) == [[2, 5], [6, 12]]
