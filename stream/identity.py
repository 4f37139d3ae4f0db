"""Identity of a stream: its id, and the call and participant that its media shows. Pure."""

from __future__ import annotations

import msgspec

# Never "." or "..", which HTTP clients remove from URLs.
STREAM_ID = r"[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,127}"
LABEL = r"[A-Za-z0-9._~@:-]{0,128}"


class StreamIdentity(msgspec.Struct, frozen=True):
    """`stream` matches `STREAM_ID`. `call_id` and `participant_id` match `LABEL` and are empty where unknown.

    The REST and WHIP routes and the Kafka media contract check the patterns.
    """

    stream: str
    call_id: str = ""
    participant_id: str = ""
