"""Record forms: frames, access units or segments. Apart from the segmenter, so that the CLI imports no codec."""

from __future__ import annotations

from enum import StrEnum


class RecordForm(StrEnum):
    """What one media record carries."""

    FRAMES = "frames"
    UNITS = "units"
    SEGMENTS = "segments"
