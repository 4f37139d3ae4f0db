"""Figures from what was sent and what came back."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.bench.publisher_messages import CallSent
from api.bench.run_statistics import Interval, percentile, run_statistics
from api.bench.verdict_recorder import VerdictArrival
from stream.types import FrameCounts

INTERVAL = Interval(100.0, 110.0)


def arrivals(stream: str, per_s: float = 2.0, age_ms: float = 80.0, **drops: int) -> list[VerdictArrival]:
    """Verdicts from second 95 to 115, one per scored sample; the drops happened at second 105."""
    return [
        VerdictArrival(
            at_s=95.1 + n / per_s, stream=stream, age_ms=age_ms, newest_frame=round(n * 30 / per_s),
            frames=FrameCounts(
                received=15 * n, decoded=15 * n, sampled=n, scored=n, dropped=drops if n / per_s > 10 else {}
            ),
        )
        for n in range(int(20 * per_s))
    ]


def sent(stream: str, before_ms: float) -> CallSent:
    """Every frame left this long before the verdict on it was read."""
    return CallSent(stream, [95.1 + n / 30 - before_ms / 1000 for n in range(600)], 1000, 0.0)


def test_a_fully_sampled_call_in_time_is_sustained() -> None:
    figures = run_statistics(("a",), {"a": arrivals("a", queue_full=3)}, {"a": sent("a", 90.0)}, INTERVAL)
    assert figures.sustained
    assert (figures.sampling, figures.sampling_min) == (1.0, 1.0)
    assert (figures.wanted_per_s, figures.got_per_s) == (2.0, 2.0)
    assert figures.age_ms == (80.0, 80.0, 80.0)
    assert figures.sent_to_read_ms == pytest.approx((90.0, 90.0, 90.0))
    assert (figures.verdicts, figures.frames_per_s, figures.drops) == (20, 30.0, {"queue_full": 3})


def test_only_the_measured_interval_counts() -> None:
    late = [a._replace(age_ms=9000.0) if not INTERVAL.holds(a.at_s) else a for a in arrivals("a")]
    assert run_statistics(("a",), {"a": late}, {}, INTERVAL).age_ms.p99 == 80.0


def test_every_call_must_get_its_samples() -> None:
    figures = run_statistics(("a", "b"), {"a": arrivals("a"), "b": arrivals("b", per_s=1.0)}, {}, INTERVAL)
    assert [call.sampling for call in figures.calls] == [1.0, 0.5]
    assert (figures.sampling, figures.sampling_min) == (0.75, 0.5)
    assert not figures.sustained


def test_a_call_without_verdicts_was_not_sampled() -> None:
    figures = run_statistics(("a", "silent"), {"a": arrivals("a")}, {}, INTERVAL)
    assert figures.sampling_min == 0.0
    assert not figures.sustained


def test_a_call_that_stops_halfway_is_not_fully_sampled() -> None:
    half = [a for a in arrivals("a") if a.at_s < 105]
    assert run_statistics(("a",), {"a": half}, {}, INTERVAL).sampling_min == 0.5


def test_denser_sampling_does_not_make_up_for_others() -> None:
    assert run_statistics(("a",), {"a": arrivals("a", per_s=5.0)}, {}, INTERVAL).sampling_min == 1.0


def test_old_verdicts_do_not_hold() -> None:
    figures = run_statistics(("a",), {"a": arrivals("a", age_ms=501.0)}, {}, INTERVAL)
    assert figures.worst_call_p95_ms == 501.0
    assert not figures.sustained


def test_no_verdict_at_all_has_no_age() -> None:
    figures = run_statistics(("a",), {}, {}, INTERVAL)
    assert math.isnan(figures.age_ms.p95)
    assert not figures.sustained


def test_a_verdict_without_a_known_newest_frame_has_no_latency() -> None:
    unknown = [a._replace(newest_frame=None) for a in arrivals("a")]
    assert math.isnan(run_statistics(("a",), {"a": unknown}, {"a": sent("a", 90.0)}, INTERVAL).sent_to_read_ms.p50)


@given(st.lists(st.floats(0, 1e6), min_size=1), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_percentile_is_the_least_value_that_covers_its_share(values: list[float], share: float) -> None:
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values)
    assert sum(value < found for value in values) < share * len(values)
