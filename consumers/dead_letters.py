"""Dead letters: records that cannot be judged, kept as they came, with headers that say where and why. No I/O."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from consumers.broker import Message

if TYPE_CHECKING:
    from consumers.broker import Record

MAX_VALUE_BYTES = 8 * 2**20
_MAX_TEXT = 256


class Cause(NamedTuple):
    """Why a record is given up: `stage` is where ("contract", "fetch", "decode"), `error` a stable code."""

    stage: str
    error: str
    message: str
    attempts: int = 1


def dead_letter(topic: str, group: str, record: Record, cause: Cause) -> Message:
    """The record with its key, value and headers, and `dlq.*` beside them.

    Of an unreadable batch only the offsets are kept, `dlq.offset` to `dlq.last_offset`. A value of more than
    `MAX_VALUE_BYTES` stays behind; `dlq.value_bytes` says how large it was. A record without key and value gets an
    empty value.
    """
    value = record.value
    texts = {
        "topic": record.place.topic,
        "partition": str(record.place.partition),
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
        value = b""         # a record needs one of the two
    own = tuple((f"dlq.{name}", text.encode()) for name, text in texts.items())
    kept = tuple((name, data) for name, data in record.headers if not name.startswith("dlq."))
    return Message(topic, record.key, value, kept + own)


class DeadLetterLimit:
    """Keeps a broken producer from filling the topic: of the last `window` records at most a `share` may be kept, but
    `always` of them in any case. What is over the limit is counted, not kept."""

    def __init__(self, share: float = 0.1, always: int = 50, window: int = 1000) -> None:
        self._share = share
        self._always = always
        self._kept: deque[bool] = deque(maxlen=window)
        self.left_out = 0

    def good(self) -> None:
        """One more record that is no dead letter."""
        self._kept.append(False)

    def allows(self) -> bool:
        """Whether one more dead letter is kept."""
        kept = sum(self._kept)
        allowed = kept < self._always or kept < self._share * len(self._kept)
        self._kept.append(allowed)
        self.left_out += not allowed
        return allowed
