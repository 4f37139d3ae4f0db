"""How media is cut into records; apart, so that a command line can offer it without loading any codec."""

from __future__ import annotations

from enum import StrEnum


class RecordForm(StrEnum):
    """What one record carries."""

    FRAMES = "frames"
    UNITS = "units"
    SEGMENTS = "segments"
