"""Repeats are dropped, jumps are gaps, a new epoch starts anew."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from consumers.media_contract import Stamp
from consumers.sequencing import Step, StreamSequence, Turn


def turns(*records: tuple[int, int], ended: int | None = None) -> list[Step]:
    order = StreamSequence(ended)
    return [order.take(Stamp("call", epoch, sequence, 0.0)) for epoch, sequence in records]


def test_reading_may_begin_anywhere() -> None:
    assert turns((5, 77), (5, 78)) == [Step(Turn.NEW_EPOCH), Step(Turn.NEXT)]


def test_a_jump_tells_how_many_are_missing() -> None:
    assert turns((5, 0), (5, 4))[1] == Step(Turn.NEXT, 3)


def test_repeats_are_dropped_and_move_nothing() -> None:
    steps = turns((5, 3), (5, 3), (5, 1), (5, 4))
    assert [step.turn for step in steps] == [Turn.NEW_EPOCH, Turn.REPEAT, Turn.REPEAT, Turn.NEXT]


def test_an_older_epoch_is_stale() -> None:
    assert [step.turn for step in turns((5, 3), (6, 0), (5, 4))] == [Turn.NEW_EPOCH, Turn.NEW_EPOCH, Turn.STALE]


def test_what_ended_stays_ended() -> None:
    assert [step.turn for step in turns((5, 9), (6, 0), ended=5)] == [Turn.STALE, Turn.NEW_EPOCH]
    order = StreamSequence()
    order.take(Stamp("call", 5, 0, 0.0))
    order.end()
    order.end()
    assert order.take(Stamp("call", 5, 1, 0.0)).turn is Turn.STALE
    assert order.take(Stamp("call", 6, 0, 0.0)).turn is Turn.NEW_EPOCH


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9))))
def test_what_is_used_only_ever_grows(records: list[tuple[int, int]]) -> None:
    used = [r for r, step in zip(records, turns(*records), strict=True) if step.turn in (Turn.NEXT, Turn.NEW_EPOCH)]
    assert used == sorted(set(used))
