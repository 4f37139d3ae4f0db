"""Verdicts and states as records, and the repeat filter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from consumers.broker import PartitionId, Record
from consumers.verdict_records import RepeatFilter, State, latest_states, state_message, tombstone, verdict_message
from stream import event_encoding
from stream.config import StreamConfig
from stream.events import StreamEnded, Verdict
from stream.rolling_verdicts import RollingVerdicts
from stream.types import EndReason, FrameCounts
from tests.stream.observations import face, moment, observation

if TYPE_CHECKING:
    from consumers.broker import Message


def some(epoch: int = 1, count: int = 6) -> list[Verdict]:
    monitor = RollingVerdicts("call", epoch, 0.3, StreamConfig())
    return [v for n in range(count) for v in monitor.observe(observation(n, (face(llr=1.0),)), moment())]


def ended(epoch: int) -> StreamEnded:
    return StreamEnded(
        stream="call", epoch=epoch, reason=EndReason.END_OF_MEDIA, message="", frames=FrameCounts()
    )


def stored(*messages: Message) -> list[Record]:
    return [Record(PartitionId("t", 0), n, 0, m.key, m.value, m.headers) for n, m in enumerate(messages)]


def states(*found: State | None) -> list[Record]:
    return stored(*(tombstone("t", 0, "call") if s is None else state_message("t", 0, s) for s in found))


def test_a_verdict_record_has_the_stream_as_key_and_the_verdict_id() -> None:
    verdict = some()[2]
    message = verdict_message("verdicts", 4, verdict)
    assert (message.topic, message.key, message.partition) == ("verdicts", b"call", 4)
    assert dict(message.headers)["ce_id"] == b"call/1/2"
    assert event_encoding.decode(message.value or b"") == verdict


def test_the_latest_state_wins_over_the_last_written() -> None:
    first, second = some(), some(2)
    assert latest_states(states(first[1], first[3], first[2])) == {"call": first[3]}
    assert latest_states(states(second[0], first[3])) == {"call": second[0]}
    assert latest_states(states(first[3], ended(1), first[2])) == {"call": ended(1)}
    assert latest_states(states(ended(1), second[0])) == {"call": second[0]}


def test_a_tombstone_deletes_and_foreign_records_are_ignored() -> None:
    verdict = some()[1]
    assert latest_states(states(verdict, None)) == {}
    assert latest_states(states(verdict, None, some(2)[0])) == {"call": some(2)[0]}
    rubbish = Record(PartitionId("t", 0), 9, 0, b"other", b"\xff{", ())
    assert latest_states([*states(verdict), rubbish]) == {"call": verdict}


@given(st.lists(st.tuples(st.integers(1, 2), st.integers(0, 5)), max_size=30))
def test_filtered_verdicts_strictly_increase(rows: list[tuple[int, int]]) -> None:
    known = {epoch: some(epoch, 7) for epoch in (1, 2)}
    repeats = RepeatFilter()
    seen = [(v.epoch, v.sequence) for v in (known[e][s] for e, s in rows) if repeats.is_new(v)]
    assert seen == sorted(set(seen))
    assert not rows or seen[-1] == max(rows)


def test_a_forgotten_stream_may_start_again() -> None:
    verdict, repeats = some()[0], RepeatFilter()
    assert [repeats.is_new(verdict), repeats.is_new(verdict)] == [True, False]
    repeats.forget("call")
    assert repeats.is_new(verdict)
