"""Record forms: frames, access units or segments. Separate, so that the CLI imports it without codecs."""

from __future__ import annotations

from enum import StrEnum


class RecordForm(StrEnum):
    """What one record carries."""

    FRAMES = "frames"
    UNITS = "units"
    SEGMENTS = "segments"
