"""What a process of publishers says of its calls: one JSON object per line on its standard output."""

from __future__ import annotations

import msgspec


class CallStarted(msgspec.Struct, frozen=True, tag="sending"):
    """A call is connected and its first frame is out. Times are monotonic seconds, which all processes share."""

    stream: str
    at_s: float


class CallRefused(msgspec.Struct, frozen=True, tag="refused"):
    """The endpoint has no room for a call now; it is offered again. `answered_ms`: how long it took to say so."""

    stream: str
    message: str
    answered_ms: float


class CallLost(msgspec.Struct, frozen=True, tag="lost"):
    """A call could not be published, or not to the end."""

    stream: str
    message: str


class CallSent(msgspec.Struct, frozen=True, tag="sent"):
    """All of one call: when each frame was handed to the sender, by frame number, and how late that was at worst."""

    stream: str
    sent_s: list[float]
    payload_bytes: int
    late_ms: float


PublisherMessage = CallStarted | CallRefused | CallLost | CallSent

encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(PublisherMessage)


def decode(line: bytes) -> PublisherMessage:
    """Raises msgspec.DecodeError."""
    report: PublisherMessage = _decoder.decode(line)
    return report
