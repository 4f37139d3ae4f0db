"""The only encoder of events."""

from __future__ import annotations

import msgspec

from stream.events import Event

_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder(Event)


def encode(event: Event) -> bytes:
    """UTF-8 JSON of one event, with its kind in `type`; floats as they are, no NaN."""
    return _encoder.encode(event)


def decode(data: bytes | str) -> Event:
    """The event of this JSON. Raises msgspec.ValidationError or msgspec.DecodeError."""
    event: Event = _decoder.decode(data)
    return event


def to_builtins(event: Event) -> dict[str, object]:
    """The event as plain JSON values, for embedding in a larger message."""
    plain: dict[str, object] = msgspec.to_builtins(event)
    return plain
