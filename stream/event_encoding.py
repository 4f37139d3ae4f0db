"""JSON encoding of events; the only encoder of them."""

from __future__ import annotations

import msgspec

from stream.events import Event

_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder(Event)


def encode(event: Event) -> bytes:
    """Returns one event as UTF-8 JSON, with its kind in `type`. Floats are not rounded; NaN is not allowed."""
    return _encoder.encode(event)


def decode(data: bytes | str) -> Event:
    """Returns the event encoded in this JSON. Raises msgspec.ValidationError or msgspec.DecodeError."""
    event: Event = _decoder.decode(data)
    return event


def to_builtins(event: Event) -> dict[str, object]:
    """Returns the event as plain JSON values, for embedding in a larger message."""
    plain: dict[str, object] = msgspec.to_builtins(event)
    return plain
