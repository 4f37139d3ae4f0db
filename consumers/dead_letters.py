"""Dead letters: rejected records, unchanged, with `dlq.*` headers that give origin and cause. No I/O."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from consumers.broker import Message

if TYPE_CHECKING:
    from consumers.broker import Record

MAX_VALUE_BYTES = 8 * 2**20
_MAX_TEXT = 256


class Cause(NamedTuple):
    """Why a record is rejected. `stage` is "read", "contract", "fetch" or "decode"; `error` is a stable code."""

    stage: str
    error: str
    message: str
    attempts: int = 1


def dead_letter(topic: str, group: str, record: Record, cause: Cause) -> Message:
    """Returns the dead letter of a record: its key, value and headers, plus `dlq.*` headers.

    An unreadable batch keeps only its offsets, `dlq.offset` to `dlq.last_offset`. A value above `MAX_VALUE_BYTES` is
    left out and `dlq.value_bytes` holds its size. A record without key and value gets an empty value.
    """
    value = record.value
    texts = {
        "topic": record.partition_id.topic,
        "partition": str(record.partition_id.partition),
        "offset": str(record.offset),
        "timestamp": str(record.timestamp_ms),
        "group": group,
        "stage": cause.stage,
        "error": cause.error,
        "message": cause.message[:_MAX_TEXT],
        "attempts": str(cause.attempts),
    }
    if record.unreadable is not None:
        texts["last_offset"] = str(record.unreadable.last_offset)
    if value is not None and len(value) > MAX_VALUE_BYTES:
        texts["value_bytes"] = str(len(value))
        value = None
    if record.key is None and value is None:
        value = b""         # writers require a key or a value
    own = tuple((f"dlq.{name}", text.encode()) for name, text in texts.items())
    original = tuple((name, data) for name, data in record.headers if not name.startswith("dlq."))
    return Message(topic, record.key, value, original + own)


class DeadLetterLimit:
    """Keeps a broken producer from filling the dead-letter topic.

    Of the last `window` records, at most a `share` may become dead letters, but always up to `always` of them.
    `discarded` counts those above the limit.
    """

    def __init__(self, share: float = 0.1, always: int = 50, window: int = 1000) -> None:
        self._share = share
        self._always = always
        self._written: deque[bool] = deque(maxlen=window)
        self.discarded = 0

    def add_good(self) -> None:
        """Counts one more good record."""
        self._written.append(False)

    def allows(self) -> bool:
        """Counts one more dead letter and returns whether to write it."""
        written = sum(self._written)
        allowed = written < self._always or written < self._share * len(self._written)
        self._written.append(allowed)
        self.discarded += not allowed
        return allowed
