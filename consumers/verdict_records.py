"""Verdicts and the state of streams as records, and how readers drop repeats. No I/O.

The state of a stream is its last verdict, or its end. Both topics are keyed by stream and use the media's partitions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from consumers.broker import Message, Record
from stream import event_encoding
from stream.events import StreamEnded, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from consumers.broker import Headers

VERDICT_TYPE = "org.deepguard.verdict"
STATE_TYPE = "org.deepguard.stream.state"
SOURCE = "/deepguard/consume"

State = Verdict | StreamEnded


def verdict_message(topic: str, partition: int, verdict: Verdict) -> Message:
    """The record of one verdict; its `ce_id` is the verdict's."""
    headers = _headers(VERDICT_TYPE, verdict.id)
    return Message(topic, verdict.stream.encode(), event_encoding.encode(verdict), headers, partition)


def state_message(topic: str, partition: int, state: State) -> Message:
    """Where a stream stands, for whoever goes on with it."""
    headers = _headers(STATE_TYPE, f"{state.stream}/{state.epoch}")
    return Message(topic, state.stream.encode(), event_encoding.encode(state), headers, partition)


def tombstone(topic: str, partition: int, stream: str) -> Message:
    """Has the compacted topic forget the stream."""
    return Message(topic, stream.encode(), None, (), partition)


def state_of(record: Record) -> State | None:
    """What a record of the state topic says; None for a tombstone, and for what is none of ours."""
    try:
        event = event_encoding.decode(record.value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return event if isinstance(event, Verdict | StreamEnded) else None


def latest_states(records: Iterable[Record]) -> dict[str, State]:
    """The furthest state per stream. Not the last one written: a process that lost its partitions without knowing may
    still have written an older one."""
    found: dict[str, State] = {}
    for record in records:
        state = state_of(record)
        if state is None:
            found.pop((record.key or b"").decode(errors="replace"), None)
        elif state.stream not in found or _rank(state) >= _rank(found[state.stream]):
            found[state.stream] = state
    return found


class RepeatFilter:
    """For readers of verdicts: lets every verdict through once, in order, however often it was written.

    Remembers two numbers per stream; `forget` the streams that have ended.
    """

    def __init__(self) -> None:
        self._last: dict[str, tuple[int, int]] = {}

    def is_new(self, verdict: Verdict) -> bool:
        """Whether this verdict says more than the ones before it; those that it overtook are not let through again."""
        place = verdict.epoch, verdict.sequence
        if place <= self._last.get(verdict.stream, (-1, -1)):
            return False
        self._last[verdict.stream] = place
        return True

    def forget(self, stream: str) -> None:
        self._last.pop(stream, None)


def _rank(state: State) -> tuple[int, int, int]:
    return (state.epoch, 0, state.sequence) if isinstance(state, Verdict) else (state.epoch, 1, 0)


def _headers(kind: str, identity: str) -> Headers:
    texts = (
        ("ce_specversion", "1.0"), ("ce_type", kind), ("ce_source", SOURCE), ("ce_id", identity),
        ("content-type", "application/json"),
    )
    return tuple((name, text.encode()) for name, text in texts)
