"""Opaque cursors of the incident list. No I/O."""

from __future__ import annotations

import base64
import binascii
import math

from api.errors import Unprocessable
from api.incidents.incident_queries import PagePosition


def encode_cursor(position: PagePosition) -> str:
    return base64.urlsafe_b64encode(f"{position.opened_s!r} {position.id}".encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> PagePosition:
    """Decodes a cursor. Raises Unprocessable for an invalid one."""
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        opened, _, incident = text.partition(" ")
        opened_s = float(opened)
    except (binascii.Error, ValueError):
        raise Unprocessable("bad_cursor", "cursor: expected the `next` value of an earlier page") from None
    if not math.isfinite(opened_s) or not incident:
        raise Unprocessable("bad_cursor", "cursor: expected the `next` value of an earlier page")
    return PagePosition(opened_s, incident)
