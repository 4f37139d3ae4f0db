"""Encoded units of the sample call, as a WebRTC peer delivers them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

import av

SAMPLE_CALL = Path(__file__).resolve().parents[2] / "api" / "demo_media" / "sample_call.mp4"


class Unit(NamedTuple):
    payload: bytes
    pts_s: float
    keyframe: bool


@cache
def sample_units(seconds: float = 8.0) -> tuple[Unit, ...]:
    """Returns Returns H.264 access units (Annex-B) in order."""
    units = []
    with av.open(str(SAMPLE_CALL)) as container:
        stream = container.streams.video[0]
        to_annexb = av.BitStreamFilterContext("h264_mp4toannexb", stream)
        for packet in container.demux(stream):
            for unit in to_annexb.filter(packet):
                if unit.pts is None or unit.size == 0:
                    continue
                pts_s = float(unit.pts * stream.time_base)
                if pts_s >= seconds:
                    return tuple(units)
                units.append(Unit(bytes(unit), pts_s, unit.is_keyframe))
    return tuple(units)
