from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.frame_sampler import Pace
from stream.load_controller import LoadController, LoadControllerConfig, StreamLoad


def load(n: int, suspicion: float = 0.0, age_ms: float | None = 100.0, clear: bool = False) -> StreamLoad:
    return StreamLoad(f"call-{n}", suspicion, clear, age_ms)


def settle(
    controller: LoadController, loads: list[StreamLoad], start_s: float = 0.0, ticks: int = 40
) -> dict[str, Pace]:
    paces: dict[str, Pace] = {}
    for tick in range(ticks):
        paces = dict(controller.plan(loads, start_s + tick))
    return paces


def test_calm_streams_keep_the_base_pace() -> None:
    assert set(settle(LoadController(), [load(n) for n in range(4)]).values()) == {Pace.BASE}


def test_suspicious_streams_speed_up_and_cleared_ones_slow_down() -> None:
    paces = settle(LoadController(), [load(0), load(1, suspicion=0.6), load(2, clear=True)])
    assert paces == {"call-0": Pace.BASE, "call-1": Pace.FAST, "call-2": Pace.HALF}


def test_without_adaption_only_overload_moves_a_pace() -> None:
    controller = LoadController(LoadControllerConfig(adaptive=False))
    assert set(settle(controller, [load(0, suspicion=0.9), load(1, clear=True)]).values()) == {Pace.BASE}


def test_overload_counts_only_streams_below_their_due_pace() -> None:
    controller = LoadController()
    settle(controller, [load(0, suspicion=0.6), load(1, clear=True), load(2)])
    assert not controller.reduced, "the cleared stream is slow by its due, not by overload"
    controller.plan([load(n, age_ms=900.0) for n in range(8)], 50.0)
    assert controller.reduced


def test_under_load_the_least_suspicious_give_up_samples_first() -> None:
    loads = [load(n, suspicion=n / 100, age_ms=900.0) for n in range(8)]
    paces = dict(LoadController().plan(loads, 0.0))
    assert [paces[f"call-{n}"] for n in range(8)] == [Pace.HALF] * 2 + [Pace.BASE] * 6


def test_later_verdicts_slow_more_streams_per_step() -> None:
    for age_ms, moved in ((900.0, 2), (1100.0, 4), (2100.0, 8)):
        paces = LoadController().plan([load(n, age_ms=age_ms) for n in range(8)], 0.0)
        assert sum(pace is Pace.HALF for pace in paces.values()) == moved


def test_streams_are_refused_only_when_all_have_the_lowest_pace() -> None:
    controller = LoadController()
    loads = [load(n, age_ms=900.0) for n in range(4)]
    refused_at = next(tick for tick in range(40) if (controller.plan(loads, float(tick)), controller.full)[1])
    assert refused_at >= 8, "two steps down for each of four streams, one stream a second"
    assert set(settle(controller, loads, 40.0).values()) == {Pace.QUARTER}
    settle(controller, [load(n, age_ms=400.0) for n in range(4)], 100.0)
    assert controller.full, "not late any more, but another one would make it so again"
    settle(controller, [load(n) for n in range(4)], 200.0)
    assert not controller.full


def test_a_new_stream_starts_at_the_slowest_pace_while_verdicts_are_not_early() -> None:
    for age_ms, first in ((900.0, Pace.QUARTER), (400.0, Pace.QUARTER), (100.0, Pace.BASE)):
        controller = LoadController(LoadControllerConfig(settle_s=100.0))
        settle(controller, [load(n, age_ms=900.0) for n in range(4)], ticks=801)
        assert controller.throttled
        paces = controller.plan([load(n, age_ms=age_ms) for n in range(5)], 801.0)
        assert paces["call-4"] is first
        assert controller.full is (age_ms > 100.0)


def test_the_most_suspicious_streams_regain_samples_first() -> None:
    controller = LoadController()
    settle(controller, [load(n, suspicion=n / 100, age_ms=900.0) for n in range(4)])
    between = settle(controller, [load(n, suspicion=n / 100, age_ms=400.0) for n in range(4)], 100.0)
    assert set(between.values()) == {Pace.QUARTER}, "in between nothing moves, so that paces do not flap"
    first = dict(controller.plan([load(n, suspicion=n / 100) for n in range(4)], 200.0))
    assert first["call-3"] is Pace.HALF
    assert set(settle(controller, [load(n, suspicion=n / 100) for n in range(4)], 300.0).values()) == {Pace.BASE}


def test_one_slow_stream_among_many_is_not_overload() -> None:
    loads = [load(n) for n in range(19)] + [load(19, age_ms=5000.0)]
    controller = LoadController()
    assert set(settle(controller, loads).values()) == {Pace.BASE}
    assert not controller.full


def test_no_streams_means_no_overload() -> None:
    controller = LoadController()
    assert controller.plan([], 0.0) == {}
    assert not controller.full


@given(
    st.lists(
        st.lists(st.tuples(st.floats(0, 1.5), st.booleans(), st.none() | st.floats(0, 5000)), max_size=6),
        max_size=30,
    )
)
def test_every_stream_always_has_a_pace(ticks: list[list[tuple[float, bool, float | None]]]) -> None:
    controller = LoadController()
    for at, tick in enumerate(ticks):
        loads = [load(n, suspicion, age_ms, clear) for n, (suspicion, clear, age_ms) in enumerate(tick)]
        paces = controller.plan(loads, float(at))
        assert set(paces) == {each.stream for each in loads}
        assert set(paces.values()) <= set(Pace)


@pytest.mark.parametrize("age_ms", [0.0, 100.0, 400.0])
def test_a_stream_that_is_no_longer_suspicious_slows_down_at_once(age_ms: float) -> None:
    controller = LoadController()
    settle(controller, [load(0, suspicion=0.9)])
    assert controller.plan([load(0, age_ms=age_ms)], 100.0) == {"call-0": Pace.BASE}
