"""Messages of a publisher process: one JSON object per line on its standard output."""

from __future__ import annotations

import msgspec


class CallStarted(msgspec.Struct, frozen=True, tag="sending"):
    """A call is connected and sent its first frame. Times are monotonic seconds, shared by all processes."""

    stream: str
    at_s: float


class CallRefused(msgspec.Struct, frozen=True, tag="refused"):
    """The endpoint refused a call with 503 after `answered_ms`; the publisher retries."""

    stream: str
    message: str
    answered_ms: float


class CallLost(msgspec.Struct, frozen=True, tag="lost"):
    """A call failed or ended early."""

    stream: str
    message: str


class CallSent(msgspec.Struct, frozen=True, tag="sent"):
    """Statistics of one ended call: send time of each frame by frame number, and the 95th-percentile delay."""

    stream: str
    sent_s: list[float]
    payload_bytes: int
    late_ms: float


PublisherMessage = CallStarted | CallRefused | CallLost | CallSent

encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(PublisherMessage)


def decode(line: bytes) -> PublisherMessage:
    """Decodes one line. Raises msgspec.DecodeError."""
    report: PublisherMessage = _decoder.decode(line)
    return report
