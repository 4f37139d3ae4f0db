"""The page's pure modules, run where they run: in a browser. No service is needed."""

from __future__ import annotations

import re
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import sync_playwright

from api.http.auth import bearer_of_subprotocols
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


def test_every_readiness_reason_has_a_text(page: Page) -> None:
    contract = (ROOT / "docs" / "contracts" / "rest.md").read_text()
    for trouble in module(page, "status", "Object.keys(m.TROUBLES)"):
        assert f"`{trouble}`" in contract
    reasons = set(re.findall(r'reasons\.append\("(\w+)"\)', (ROOT / "api" / "routes" / "probes.py").read_text()))
    assert set(module(page, "status", "Object.keys(m.TROUBLES)")) == reasons | {"overloaded"}


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
        "(await import('/static/js/call_order.js'))"
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


def test_streams_missing_from_a_snapshot_have_ended(page: Page) -> None:
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


def test_calls_are_ordered_by_suspicion_then_by_start(page: Page) -> None:
    items = [
        verdict(1, stream="real"), verdict(1, stream="empty", label="NO_FACE", prob_fake=None), started("new"),
        watched("calm", 0.1), watched("risen", 0.8), verdict(1, stream="fake", label="FAKE"),
        started("later", started_s=9), watched("later", 0.1), started("calm", started_s=5),
    ]
    later_ms = module(page, "call_order", "m.EASE_MS")
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


@pytest.mark.parametrize(("open_alarms", "more", "title"), [
    (0, False, "DeepGuard"), (1, False, "(1) Alarm to review \u2013 DeepGuard"),
    (200, True, "(200+) Alarms to review \u2013 DeepGuard"),
])  # fmt: skip
def test_the_title_counts_alarms_without_a_review(page: Page, open_alarms: int, more: bool, title: str) -> None:
    assert module(page, "alarm_attention", "m.tabTitle(...a)", [open_alarms, more]) == title


@pytest.mark.parametrize(("verdict", "words"), [
    ({"label": "UNCERTAIN", "reason": "monitoring"}, "No sign of manipulation so far"),
    ({"label": "UNCERTAIN", "reason": "suspect"}, "Suspicious"),
    ({"label": "UNCERTAIN", "reason": "low_coverage"}, "Uncertain"),
    ({"label": "UNCERTAIN", "reason": "low_coverage", "alarm": True}, "Likely fake"),
    ({"label": "REAL", "reason": "evidence_real"}, "Likely real"),
])  # fmt: skip
def test_the_headline_says_what_a_moderator_needs(page: Page, verdict: dict[str, Any], words: str) -> None:
    assert module(page, "format", "m.verdictWords(a)", verdict) == words


def test_cards_rise_at_once_and_fall_late(page: Page) -> None:
    ease_ms = module(page, "call_order", "m.EASE_MS")
    def rank_at(*seen: tuple[int, float]) -> int:
        rank = "a.reduce((held, [nowMs, rank]) => m.eased(held, rank, nowMs), {rank: 3, lowerSinceMs: null}).rank"
        return int(module(page, "call_order", rank, seen))
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
        if module(page, "call_order", "m.matches(...a)", [view, {"label": label, "text": text}])
    ]
    assert sorted(matching) == found


def test_a_silent_source_is_known_until_it_speaks(page: Page) -> None:
    stalled = {"type": "stream.stalled", "stream": "a", "epoch": 1, "silent_s": 5, "from_s": 1}
    assert reduced(page, *events(started(), verdict(1), stalled))[0]["stalled"] is True
    assert reduced(page, *events(started(), stalled, verdict(1)))[0]["stalled"] is False


def test_many_changes_are_announced_in_one_sentence(page: Page) -> None:
    views = reduced(page, *events(*(verdict(1, stream=f"s{n}", label="FAKE" if n == 6 else "REAL") for n in range(8))))
    one = module(page, "announcer", "m.spoken([a])", views[0])
    assert one == "s6: Likely fake. No sign of manipulation was found."
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
    assert module(page, "call_order", "m.alarmLevel(a)", verdict(1, decision=decision, faces=faces)) == level


def test_charts_break_at_gaps(page: Page) -> None:
    points = [{"x": x, "p": None if x in (3, 4) else 0.5} for x in (0, 1, 2, 3, 4, 5, 6, 12, 13)]
    runs = module(page, "chart", "m.runs(a, 2).map(run => run.map(point => point.x))", points)
    assert runs == [[0, 1, 2], [5, 6], [12, 13]]
    assert module(page, "chart", "m.gaps(a, {from: 0, to: 13, maxStep: 2})", points) == [[2, 5], [6, 12]]


@pytest.mark.parametrize(
    ("fragment", "route"),
    [
        ("#/incidents", {"page": "incidents", "incident": ""}), ("#/incidents/", {"page": "incidents", "incident": ""}),
        ("#/incidents/inc_1", {"page": "incidents", "incident": "inc_1"}), ("#/incidentsx", {"page": "wall"}),
        ("", {"page": "wall"}), ("#webcam", {"page": "wall"}), ("#/calls/", {"page": "wall"}),
        ("#/calls/%", {"page": "wall"}), ("#/calls/a", {"page": "call", "stream": "a", "epoch": None}),
        ("#/calls/a%2Fb%3F?epoch=7", {"page": "call", "stream": "a/b?", "epoch": 7}),
        ("#/calls/a?epoch=x", {"page": "call", "stream": "a", "epoch": None}),
    ],
)
def test_addresses_lead_where_they_say(page: Page, fragment: str, route: dict[str, Any]) -> None:
    assert module(page, "router", "m.routeOf(a)", fragment) == route


@pytest.mark.parametrize(("stream", "epoch"), [("plain", None), ("a/b ?#%ä", 5), ("?epoch=9", None)])
def test_addresses_of_calls_come_back(page: Page, stream: str, epoch: int | None) -> None:
    route = module(page, "router", "m.routeOf(m.callHref(...a))", [stream, epoch])
    assert route == {"page": "call", "stream": stream, "epoch": epoch}


def timeline(**fields: Any) -> dict[str, Any]:
    known = {"stream": "a", "epoch": 1, "state": "live", "ended": None, "verdict": None, "buckets": [], "marks": []}
    return {**known, **fields}


def judged(sequence: int, **fields: Any) -> dict[str, Any]:
    quality = {"face_px": 150, "weight": 0.8}
    face = {"track": 1, "box": [0, 0, 1, 1], "label": "UNCERTAIN", "suspicion": 0.25, "quality": quality}
    usual: dict[str, Any] = {"coverage": 0.9, "age_ms": 100, "rate_hz": 2, "alarm": False, "frames": {"dropped": {}}}
    return verdict(sequence, **{**usual, "faces": [face], "decision": {"limit": 12.5}, **fields})


def follow(page: Page, start: dict[str, Any], *happened: dict[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = module(page, "call_model", "a[1].reduce(m.followed, a[0])", [start, list(happened)])
    return told


def test_a_timeline_continues_with_live_events(page: Page) -> None:
    late = judged(2, frames={"dropped": {"queue_full": 3}})
    more = judged(3, frames={"dropped": {"queue_full": 5, "superseded": 1}}, faces=[], prob_fake=None)
    opened = {"type": "incident.opened", "stream": "a", "epoch": 1, "id": "inc_1", "pts_s": 1.5}
    strangers = judged(9, epoch=2), judged(9, stream="b")
    after = follow(page, timeline(), judged(1), late, late, *strangers, more, opened, ENDED)
    assert [bucket["end_s"] for bucket in after["buckets"]] == [0.5, 1, 1.5]
    dropped = [bucket["dropped"] for bucket in after["buckets"]]
    assert dropped == [{}, {"queue_full": 3}, {"queue_full": 2, "superseded": 1}]
    assert [bucket["prob_fake"] for bucket in after["buckets"]] == [[0.1, 0.1, 0.1, 1], [0.1, 0.1, 0.1, 1], None]
    assert after["buckets"][2]["quality"] is None
    assert after["marks"] == [{"kind": "alarm_opened", "at_s": 1.5, "incident": "inc_1", "why": ""}]
    assert (after["state"], after["ended"]["reason"]) == ("ended", "stopped")


def test_lines_join_neighbours_and_silence_shows(page: Page) -> None:
    spans = [{"start_s": start, "end_s": end} for start, end in ((3, 4), (4, 5), (7, 8), (20, 28), (28, 28.5))]
    runs = module(page, "call_model", "m.stretches(a).map(run => run.map(bucket => bucket.end_s))", spans)
    assert runs == [[4, 5, 8], [28, 28.5]]
    assert module(page, "call_model", "m.silences(a)", spans) == [[0, 3], [8, 20]]
    assert module(page, "call_model", "m.stretches(a, b => b.end_s !== 5).map(run => run.length)", spans) == [1, 1, 2]


@pytest.mark.parametrize(
    ("key", "at_s", "there"),
    [
        ("ArrowLeft", 2, 1), ("ArrowLeft", 1, 1), ("ArrowRight", 1, 2), ("ArrowRight", 3, None), ("Home", 3, 1),
        ("End", 1, None), ("PageUp", 3, 2.2), ("PageUp", 2.2, 0.7), ("PageUp", 0.7, "stay"), ("PageDown", 0, 0.7),
        ("PageDown", 2.2, "stay"), ("x", 1, "stay"),
    ],
)
def test_keys_step_along_the_call(page: Page, key: str, at_s: float, there: float | str | None) -> None:
    buckets, frames = [{"end_s": end} for end in (1, 2, 3)], [{"pts_s": at} for at in (0.7, 2.2)]
    step = "(next => next === undefined ? 'stay' : next)(m.stepped(a[0], a[1], {buckets: a[2]}, a[3]))"
    assert module(page, "call_model", step, [key, at_s, buckets, frames]) == there


POLICY = {"false_alarms_per_hour": 0.01, "limit": 12.49, "expected_delay_s": 17.9}


@pytest.mark.parametrize(
    ("policy", "marks", "words"),
    [
        (POLICY, [], ["allows 0.01 false alarms per hour", "at 25 % of the alarm level", "No alarm so far", "18 s"]),
        ({**POLICY, "expected_delay_s": None}, [], ["This model cannot reach the alarm level"]),
        ({**POLICY, "limit": None}, [], ["No alarm can be raised"]),
        (POLICY, [{"kind": "alarm_opened", "at_s": 72, "incident": "i", "why": ""}], ["Alarm at 1:12."]),
    ],
)
def test_a_call_says_where_it_stands(
    page: Page, policy: dict[str, Any], marks: list[dict[str, Any]], words: list[str]
) -> None:
    told = module(page, "call_model", "m.statement(...a)", [policy, timeline(verdict=judged(1), marks=marks)])
    assert all(word in told.replace("\u202f", " ") for word in words), told


def test_only_problems_are_shown(page: Page) -> None:
    def trouble(**fields: Any) -> str:
        known = follow(page, timeline(marks=fields.pop("marks", [])), judged(2, **fields))
        return str(module(page, "call_model", "m.troubleOf(a)", known))

    assert trouble() == ""
    assert "only 20" in trouble(coverage=0.2)
    assert "samples this call 0.5 times a second" in trouble(rate_hz=0.5)
    stalled = {"kind": "stalled", "at_s": 1.0, "incident": "", "why": ""}
    assert "No video from the sender since 0:01" in trouble(marks=[stalled])
    assert module(page, "call_model", "m.markWords(a)", stalled) == "No video for a while at 0:01"


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0:00"), (59.999, "0:59"), (60, "1:00"), (3599, "59:59"), (36_061, "10:01:01")]
)
def test_media_time_reads_like_a_clock(page: Page, seconds: float, words: str) -> None:
    assert module(page, "call_model", "m.clock(a)", seconds) == words


def test_a_spectrum_is_held_against_real_faces(page: Page) -> None:
    real = {"low": [0] * 32, "middle": [1] * 32, "high": [2] * 32, "faces": 594}
    coarse = [1] * 20
    spectra = {"usual": [1] * 32, "strong": [*coarse, *[3] * 12], "weak": [*coarse, *[-1] * 12], "none": []}
    told = {
        name: module(page, "call_model", "m.spectrumWords(...a)", [spectrum, real]).replace("\u202f", " ")
        for name, spectrum in spectra.items()
    }
    assert told["usual"].startswith("32 of 32 bands lie where 90 % of 594 real faces lie. A hint")
    assert "20 of 32" in told["strong"]
    assert "stronger" in told["strong"]
    assert "weaker" in told["weak"]
    assert "at least 96 px" in told["none"]


def test_heat_lies_on_the_square_that_the_model_saw(page: Page) -> None:
    square = module(page, "heat_maps", "m.squareOf([0.4, 0.2, 0.2, 0.5], {width: 640, height: 360})")
    assert square == pytest.approx({"left": 320 - 117, "top": 162 - 117, "side": 234})
    assert module(page, "heat_maps", "[0, 0.5, 2].map(m.warmth)") == [[0, 0, 4], [188, 55, 84], [252, 255, 164]]
