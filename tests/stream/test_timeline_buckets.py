from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.events import Label
from stream.timeline_buckets import FACTOR, PER_TIER, TimelineBuckets, ValueRange, joined
from stream.types import FrameCounts
from tests.stream.verdicts import judged


def filled(count: int) -> TimelineBuckets:
    timeline = TimelineBuckets(0.5)
    for number in range(1, count + 1):
        timeline.add(judged(number))
    return timeline


def test_the_newest_verdicts_have_a_bucket_each() -> None:
    timeline = TimelineBuckets(0.5)
    timeline.add(judged(1, prob_fake=0.25, coverage=0.5))
    timeline.add(judged(2, prob_fake=None, label=Label.NO_FACE))
    first, second = timeline.buckets
    assert (first.start_s, first.end_s, second.start_s, second.end_s) == (0.0, 0.5, 0.5, 1.0)
    assert first.prob_fake == ValueRange(0.25, 0.25, 0.25, 1)
    assert first.coverage == ValueRange(0.5, 0.5, 0.5, 1)
    assert (second.prob_fake, second.label) == (None, Label.NO_FACE)


def test_repeats_change_nothing() -> None:
    timeline = filled(9)
    before = timeline.buckets
    for number in (9, 8, 1):
        timeline.add(judged(number, prob_fake=0.99))
    assert timeline.buckets == before


def test_drops_are_counted_in_the_bucket_where_they_happened() -> None:
    timeline, late, both = TimelineBuckets(0.5), {"queue_full": 3}, {"queue_full": 4, "packet_loss": 2}
    for number, dropped in enumerate(({}, late, late, both), 1):
        timeline.add(judged(number, frames=FrameCounts(dropped=dropped)))
    assert [bucket.dropped for bucket in timeline.buckets] == [{}, late, {}, {"queue_full": 1, "packet_loss": 2}]


@pytest.mark.parametrize(("hours", "most"), [(1, 550), (8, 720)])
def test_memory_grows_with_the_logarithm_of_the_call(hours: int, most: int) -> None:
    buckets = filled(hours * 7200).buckets
    assert PER_TIER * 3 < len(buckets) <= most
    assert buckets[-1].end_s == hours * 3600
    assert sum(bucket.verdicts for bucket in buckets) == hours * 7200


def random_windows(seed: int, count: int) -> list[tuple[int, float | None, Label, bool, int]]:
    """Generates verdicts with the steps between them; long enough to be merged several times."""
    dice = random.Random(seed)
    labels = list(Label)
    return [
        (dice.choice((1, 1, 1, 40)), dice.choice((None, dice.random())), dice.choice(labels), dice.random() < 0.01,
         dice.randrange(5))
        for _ in range(count)
    ]


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 3 * PER_TIER * FACTOR))
def test_merging_loses_only_exact_times(seed: int, count: int) -> None:
    windows = random_windows(seed, count)
    timeline, sequence, drops = TimelineBuckets(0.5), 0, 0
    for step, prob, label, alarm, dropped in windows:
        sequence, drops = sequence + step, drops + dropped
        counts = FrameCounts(dropped={"late": drops})
        timeline.add(judged(sequence, prob_fake=prob, label=label, alarm=alarm, frames=counts))
    buckets = timeline.buckets
    assert all(one.end_s <= other.start_s for one, other in pairwise(buckets)), "in order of time"
    assert sum(bucket.verdicts for bucket in buckets) == len(windows)
    assert sum(bucket.dropped.get("late", 0) for bucket in buckets) == drops
    assert any(bucket.alarm for bucket in buckets) == any(alarm for *_, alarm, _ in windows)
    spreads = [bucket.prob_fake for bucket in buckets if bucket.prob_fake is not None]
    known = [prob for _, prob, *_ in windows if prob is not None]
    if known:
        assert (min(s.low for s in spreads), max(s.high for s in spreads)) == (min(known), max(known))
        mean = sum(s.mean * s.number for s in spreads) / len(known)
        assert mean == pytest.approx(sum(known) / len(known))
    assert (buckets[0].start_s, buckets[-1].end_s) <= (0.5 * sequence, 0.5 * sequence)


def test_merging_keeps_the_most_severe_label() -> None:
    timeline = TimelineBuckets(0.5)
    for number in range(1, PER_TIER * FACTOR):
        label = Label.FAKE if number == 5 else Label.REAL
        timeline.add(judged(number, label=label, alarm=number == 5, suspicion=1.2 if number == 5 else 0.1))
    (marked,) = [bucket for bucket in timeline.buckets if bucket.alarm]
    assert (marked.label, marked.suspicion, marked.verdicts) == (Label.FAKE, 1.2, FACTOR)


def test_unknown_values_are_ignored() -> None:
    assert joined(ValueRange(1, 1, 1, 1), ValueRange(3, 4, 5, 2)) == ValueRange(1, 3, 5, 3)
    timeline = TimelineBuckets(10.0)
    timeline.add(judged(1, prob_fake=None))
    timeline.add(judged(2, prob_fake=0.5))
    assert timeline.buckets[0].prob_fake == ValueRange(0.5, 0.5, 0.5, 1)


def test_a_width_must_be_positive() -> None:
    with pytest.raises(ValueError, match="positive"):
        TimelineBuckets(0.0)
