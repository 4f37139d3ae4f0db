"""Verdicts and stream states as records, and the filter that drops repeated verdicts. No I/O.

The state of a stream is its last verdict or its end. Both topics are keyed by stream and partitioned as the media.
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
    """Returns the record of a verdict; its `ce_id` is the verdict's id."""
    headers = _headers(VERDICT_TYPE, verdict.id)
    return Message(topic, verdict.stream.encode(), event_encoding.encode(verdict), headers, partition)


def state_message(topic: str, partition: int, state: State) -> Message:
    """Returns the record of a stream's state, from which another consumer continues."""
    headers = _headers(STATE_TYPE, f"{state.stream}/{state.epoch}")
    return Message(topic, state.stream.encode(), event_encoding.encode(state), headers, partition)


def tombstone(topic: str, partition: int, stream: str) -> Message:
    """Returns the record that deletes a stream from the compacted state topic."""
    return Message(topic, stream.encode(), None, (), partition)


def state_of(record: Record) -> State | None:
    """Returns the state in a record; None for a tombstone or a foreign record."""
    try:
        event = event_encoding.decode(record.value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return event if isinstance(event, Verdict | StreamEnded) else None


def latest_states(records: Iterable[Record]) -> dict[str, State]:
    """Returns the state per stream with the highest epoch and sequence.

    The last one written may be older: a consumer that has lost its partitions unnoticed still writes.
    """
    found: dict[str, State] = {}
    for record in records:
        state = state_of(record)
        if state is None:
            found.pop((record.key or b"").decode(errors="replace"), None)
        elif state.stream not in found or _progress(state) >= _progress(found[state.stream]):
            found[state.stream] = state
    return found


class RepeatFilter:
    """Passes every verdict once and in order, however often it was written.

    Stores two numbers per stream; call `forget` for streams that have ended.
    """

    def __init__(self) -> None:
        self._last: dict[str, tuple[int, int]] = {}

    def is_new(self, verdict: Verdict) -> bool:
        """Returns whether this verdict is newer than all before it. Older ones that arrive later are dropped."""
        position = verdict.epoch, verdict.sequence
        if position <= self._last.get(verdict.stream, (-1, -1)):
            return False
        self._last[verdict.stream] = position
        return True

    def forget(self, stream: str) -> None:
        self._last.pop(stream, None)


def _progress(state: State) -> tuple[int, int, int]:
    return (state.epoch, 0, state.sequence) if isinstance(state, Verdict) else (state.epoch, 1, 0)


def _headers(kind: str, identity: str) -> Headers:
    texts = (
        ("ce_specversion", "1.0"), ("ce_type", kind), ("ce_source", SOURCE), ("ce_id", identity),
        ("content-type", "application/json"),
    )
    return tuple((name, text.encode()) for name, text in texts)
