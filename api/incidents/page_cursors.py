"""Where a list of incidents goes on, as an opaque text. Pure."""

from __future__ import annotations

import base64
import binascii
import math

from api.errors import Unprocessable
from api.incidents.incident_queries import PagePosition


def encode_cursor(place: PagePosition) -> str:
    return base64.urlsafe_b64encode(f"{place.opened_s!r} {place.id}".encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> PagePosition:
    """Raises Unprocessable for what is no cursor of ours."""
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        opened, _, incident = text.partition(" ")
        opened_s = float(opened)
    except (binascii.Error, ValueError):
        raise Unprocessable("bad_cursor", "cursor: expected the `next` of an earlier list") from None
    if not math.isfinite(opened_s) or not incident:
        raise Unprocessable("bad_cursor", "cursor: expected the `next` of an earlier list")
    return PagePosition(opened_s, incident)
