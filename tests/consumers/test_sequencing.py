"""Record sequencing: repeats, gaps, stale epochs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from consumers.media_contract import RecordIdentity
from consumers.sequencing import RecordOrder, SequenceCheck, StreamSequence


def checks_of(*records: tuple[int, int], ended: int | None = None) -> list[SequenceCheck]:
    sequence = StreamSequence(ended)
    return [sequence.take(RecordIdentity("call", epoch, number, 0.0)) for epoch, number in records]


def orders_of(*records: tuple[int, int], ended: int | None = None) -> list[RecordOrder]:
    return [check.order for check in checks_of(*records, ended=ended)]


def test_reading_may_begin_at_any_sequence() -> None:
    assert checks_of((5, 77), (5, 78)) == [SequenceCheck(RecordOrder.NEW_EPOCH), SequenceCheck(RecordOrder.NEXT)]


def test_a_gap_counts_the_missing_records() -> None:
    assert checks_of((5, 0), (5, 4))[1] == SequenceCheck(RecordOrder.NEXT, 3)


def test_repeats_are_dropped_and_change_nothing() -> None:
    orders = orders_of((5, 3), (5, 3), (5, 1), (5, 4))
    assert orders == [RecordOrder.NEW_EPOCH, RecordOrder.REPEAT, RecordOrder.REPEAT, RecordOrder.NEXT]


def test_an_older_epoch_is_stale() -> None:
    orders = orders_of((5, 3), (6, 0), (5, 4))
    assert orders == [RecordOrder.NEW_EPOCH, RecordOrder.NEW_EPOCH, RecordOrder.STALE]


def test_an_ended_epoch_stays_ended() -> None:
    assert orders_of((5, 9), (6, 0), ended=5) == [RecordOrder.STALE, RecordOrder.NEW_EPOCH]
    sequence = StreamSequence()
    sequence.take(RecordIdentity("call", 5, 0, 0.0))
    sequence.end()
    sequence.end()
    assert sequence.take(RecordIdentity("call", 5, 1, 0.0)).order is RecordOrder.STALE
    assert sequence.take(RecordIdentity("call", 6, 0, 0.0)).order is RecordOrder.NEW_EPOCH


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9))))
def test_accepted_records_strictly_increase(records: list[tuple[int, int]]) -> None:
    accepted = (RecordOrder.NEXT, RecordOrder.NEW_EPOCH)
    used = [record for record, order in zip(records, orders_of(*records), strict=True) if order in accepted]
    assert used == sorted(set(used))
