"""Window verdicts on simulated tracks, and their tables."""

from __future__ import annotations

import numpy as np
import pytest

from detector.training.evaluation import window_verdicts
from detector.training.evaluation.window_tables import window_tables
from detector.training.evaluation.window_verdicts import (
    FAKE,
    REAL,
    UNCERTAIN,
    EvidenceTrack,
    TrackSource,
    WindowVerdict,
)


def track(times_s: list[float], length_s: float, face_px: float = 120.0) -> EvidenceTrack:
    """Samples whose LLR is their number, from 0."""
    times = np.array(times_s, np.float64)
    llr = np.arange(len(times), dtype=np.float64)
    return EvidenceTrack(times, llr, np.ones(len(times)), 0 * times + face_px, length_s)


def steady(length_s: float) -> EvidenceTrack:
    return track([place / 2 for place in range(round(2 * length_s))], length_s)


def said(words: list[str], label: int, condition: str = "as it came", face_px: float = 120.0) -> list[WindowVerdict]:
    """A window and a whole track per word, each of a clip of its own."""
    sources = [TrackSource(label, f"group-{place}", f"clip-{place}", condition) for place in range(len(words))]
    rows = [WindowVerdict(source, "test", face_px, word) for source, word in zip(sources, words, strict=True)]
    return [*rows, *(row._replace(is_whole=True) for row in rows)]


@pytest.mark.parametrize(("length_s", "counts"), [
    (2.5, [5]), (9.5, [19]), (10.0, [20]), (10.5, [20]), (19.5, [20]), (20.0, [20, 20]), (53.0, [20] * 5),
])  # fmt: skip
def test_tracks_split_into_whole_windows_and_a_short_track_is_one(length_s: float, counts: list[int]) -> None:
    assert [len(part.times_s) for part in window_verdicts.split_windows(steady(length_s))] == counts


def test_no_sample_is_in_two_windows_and_an_edge_belongs_to_the_next() -> None:
    parts = window_verdicts.split_windows(track([0.0, 9.99, 10.0, 19.9999999, 20.0], 30.0))
    assert [part.llr.tolist() for part in parts] == [[0, 1], [2], [3, 4]]
    assert [part.length_s for part in parts] == [10.0] * 3


def test_windows_without_a_face_are_left_out_and_gaps_within_windows_allowed() -> None:
    parts = window_verdicts.split_windows(track([1.0, 8.5, 21.0], 30.0))
    assert [part.times_s.tolist() for part in parts] == [[1.0, 8.5], [21.0]]
    assert window_verdicts.split_windows(track([], 30.0)) == []
    nowhere = TrackSource(0, "a", "a", "")
    assert list(window_verdicts.judge_windows(track([], 30.0), nowhere, {"": lambda *_: FAKE})) == []


def test_every_window_and_the_whole_track_get_verdicts() -> None:
    rules = {"long": lambda times_s, _x, _w: FAKE if len(times_s) > 20 else REAL, "never": lambda *_: UNCERTAIN}
    judged = list(window_verdicts.judge_windows(steady(20.0), TrackSource(1, "a", "a", ""), rules))
    verdicts = [(row.verdict, row.is_whole) for row in judged if row.rule == "long"]
    assert verdicts == [(REAL, False), (REAL, False), (FAKE, True)]
    assert [row.verdict for row in judged if row.rule == "never"] == [UNCERTAIN] * 3
    assert {row.face_px for row in judged} == {120.0}


def test_windows_of_faces_without_weight_count_in_no_error_rate() -> None:
    tiny = EvidenceTrack(*(np.array([value]) for value in (1.0, 3.0, 0.0, 40.0)), length_s=10.0)
    source = TrackSource(0, "a", "a", "as it came")
    judged = list(window_verdicts.judge_windows(tiny, source, {"": lambda *_: UNCERTAIN}))
    assert [row.is_usable for row in judged] == [False, False]
    assert window_verdicts.by_condition(judged) == {}
    assert window_verdicts.by_condition([*judged, *said([FAKE], 0)])["as it came"]["real"]["fake"]["value"] == 1.0
    assert window_verdicts.by_size(judged)["under 64 px"]["windows"] == 1


def test_without_false_alarms_the_bound_is_the_rule_of_three_over_clips() -> None:
    found = window_verdicts.shares(said([REAL, UNCERTAIN, REAL, UNCERTAIN], 0) * 3)
    assert found is not None
    assert (found["windows"], found["clips"], found["fake"]["value"], found["alarmed"]) == (12, 4, 0.0, 0)
    assert found["fake_at_most"] == 0.75
    assert (found["uncertain"], found["real"]) == (0.5, 0.5)
    assert window_verdicts.shares([]) is None


def test_with_false_alarms_the_bound_is_that_of_the_interval() -> None:
    found = window_verdicts.shares(said([FAKE, *[REAL] * 9], 0))
    assert found is not None
    assert found["fake"]["value"] == 0.1
    assert found["fake_at_most"] == found["fake"]["high"] > 0.1
    assert (found["alarmed"], found["tracks"]) == (1, 10)


def test_shares_are_given_per_condition_and_for_all_together() -> None:
    rows = [*said([FAKE], 0, "blur 3"), *said([REAL, FAKE], 1, "blur 3"), *said([REAL], 0)]
    found = window_verdicts.by_condition(rows)
    assert list(found) == [window_verdicts.ALL, "blur 3", "as it came"]
    assert found["as it came"]["fake"] is None
    assert found[window_verdicts.ALL]["real"]["fake"]["value"] == 0.5
    assert list(window_verdicts.by_condition(said([REAL], 0))) == ["as it came"]


def test_tables_by_size_separate_errors_from_uncertain_verdicts() -> None:
    rows = [
        *said([UNCERTAIN] * 4, 0, face_px=63.9), *said([REAL, UNCERTAIN, FAKE, REAL], 0, face_px=64.0),
        *said([FAKE, REAL, REAL, UNCERTAIN], 1, face_px=95.9), *said([FAKE], 1, face_px=400.0),
    ]  # fmt: skip
    found = window_verdicts.by_size(rows)
    assert list(found) == ["under 64 px", "64 to 96 px", "from 176 px"]
    assert found["under 64 px"]["uncertain"] == 1.0
    middle = found["64 to 96 px"]
    assert [middle[key] for key in ("windows", "right", "wrong", "uncertain")] == [8, 3 / 8, 3 / 8, 2 / 8]
    assert (middle["reals_called_fake"], middle["fakes_called_real"]) == (1, 2)
    assert found["from 176 px"]["right"] == 1.0


def tables(rows: list[WindowVerdict]) -> str:
    made = {"conditions": window_verdicts.by_condition(rows), "sizes": window_verdicts.by_size(rows)}
    rules = {"dice": {"of_most": FAKE, **made}, "silence": {"of_most": UNCERTAIN, **made}}
    plan = {"window_s": 10.0, "rate_hz": 2.0, "longest_s": 60.0, "most_nats": 3.3}
    return "\n".join(window_tables({**plan, "rules": rules}))


def test_tables_show_counts_and_shares() -> None:
    reals = said([REAL, UNCERTAIN, UNCERTAIN, UNCERTAIN], 0)
    text = tables([*reals, *said([FAKE, UNCERTAIN], 1)])
    assert "| as it came | 4 | 4 | 0.0 % [0.0, 0.0] | 75.0 % | 75.0 % | 25.0 % | 0 of 4 | 2 | 50.0 % [0.0, " in text
    assert text.index("### By the rule of dice") < text.index("| as it came")
    assert "| dice | 96 to 128 px | 6 | 4 | 33.3 % | 0.0 % | 66.7 % | 0 | 0 |" in text
    heads = [line for line in text.splitlines() if line.startswith(("|", "!"))]
    assert {line.count("|") for line in heads[:6]} == {14}
    assert {line.count("|") for line in heads[6:]} == {10}
    assert "windows of swaps" not in tables(reals)


def test_the_report_states_if_no_window_can_be_fake() -> None:
    dice, silence = tables(said([REAL], 0)).split("### By the rule of silence")
    assert "(3.3 nats in each frame) is `FAKE`." in dice
    assert "is `UNCERTAIN`, so no window can be `FAKE`" in silence
    same = window_verdicts.constant_track(3.0, 2.0)
    assert (len(same.times_s), same.times_s[-1], set(same.llr), set(same.weights)) == (20, 9.5, {3.0}, {1.0})


def test_a_missing_table_states_the_reason() -> None:
    assert "Not judged: for a reason." in window_tables({"left_out": "for a reason"})
