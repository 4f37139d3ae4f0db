"""VerdictFeed: starts, ends and repeats."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from consumers.verdict_feed import VerdictFeed
from stream.events import StreamEnded, StreamStarted, Verdict
from stream.types import EndReason
from tests.consumers.verdicts_support import ended, verdict

if TYPE_CHECKING:
    from stream.events import Event

NOW_S = 1_700_000_000.0


def summary(events: list[Event]) -> list[str]:
    return [f"{event.epoch}/{event.sequence}" if isinstance(event, Verdict) else type(event).__name__
            for event in events]


def follow(following: VerdictFeed, *events: Verdict | StreamEnded, now_s: float = NOW_S) -> list[str]:
    found: list[Event] = []
    for event in events:
        found += following.ended(event) if isinstance(event, StreamEnded) else following.verdict(event, now_s, now_s)
    return summary(found)


def test_a_stream_starts_with_its_first_verdict_and_ends_once() -> None:
    assert follow(VerdictFeed(), verdict("a", 8), verdict("a", 9), ended("a"), ended("a")) == [
        "StreamStarted", "1/8", "1/9", "StreamEnded"
    ]


def test_the_start_time_is_that_of_the_media() -> None:
    (start, _) = VerdictFeed().verdict(verdict("a", 8), NOW_S, NOW_S)
    assert isinstance(start, StreamStarted)
    assert (start.source, start.started_s) == ("kafka", NOW_S - 4.0)


def test_repeats_are_dropped_even_after_the_end() -> None:
    following = VerdictFeed()
    assert follow(following, verdict("a", 8), verdict("a", 9), verdict("a", 8), verdict("a", 9)) == [
        "StreamStarted", "1/8", "1/9"
    ]
    assert follow(following, ended("a"), verdict("a", 9), verdict("a", 10)) == ["StreamEnded"]


def test_a_new_epoch_ends_the_previous_one() -> None:
    following = VerdictFeed()
    assert follow(following, verdict("a", 8), verdict("a", 3, epoch=2), verdict("a", 9), ended("a")) == [
        "StreamStarted", "1/8", "StreamEnded", "StreamStarted", "2/3"
    ]
    assert follow(following, verdict("a", 4, epoch=2), ended("a", 2)) == ["2/4", "StreamEnded"]


def test_a_silent_stream_may_continue() -> None:
    silent = ended("a", reason=EndReason.SILENT)
    assert follow(VerdictFeed(), verdict("a", 8), silent, verdict("a", 8), verdict("a", 9)) == [
        "StreamStarted", "1/8", "StreamEnded", "StreamStarted", "1/9"
    ]


def test_the_end_of_an_unknown_stream_is_dropped() -> None:
    assert follow(VerdictFeed(), ended("a")) == []


def test_streams_are_independent() -> None:
    assert follow(VerdictFeed(), verdict("a", 8), verdict("b", 3), ended("a"), verdict("b", 4)) == [
        "StreamStarted", "1/8", "StreamStarted", "1/3", "StreamEnded", "1/4"
    ]


def test_a_stream_without_verdicts_ends_after_silent_s() -> None:
    following = VerdictFeed(silent_s=60.0)
    follow(following, verdict("a", 8))
    follow(following, verdict("b", 8), now_s=NOW_S + 30)
    assert following.expire(NOW_S + 59) == []
    (event,) = following.expire(NOW_S + 61)
    assert isinstance(event, StreamEnded)
    assert (event.stream, event.reason, event.frames.received) == ("a", EndReason.SILENT, 8)
    assert follow(following, verdict("a", 9), now_s=NOW_S + 62) == ["StreamStarted", "1/9"]


@given(st.integers(0, 2**32), st.integers(1, 40))
def test_rewritten_windows_are_published_once_in_order(seed: int, windows: int) -> None:
    """A killed consumer leaves runs of verdicts that start again a little earlier."""
    chance = random.Random(seed)
    following, found, at = VerdictFeed(), [], 0
    while at < windows:
        begin = max(0, at - chance.randrange(5))
        end = min(windows, begin + 1 + chance.randrange(8))
        found += follow(following, *(verdict("a", n) for n in range(begin, end)))
        at = max(at, end)
    assert found == ["StreamStarted", *(f"1/{n}" for n in range(windows))]
