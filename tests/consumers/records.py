"""Handwritten records of the media contract, independent of the encoder under test."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from consumers.broker import Headers


@dataclass(frozen=True)
class RawRecord:
    """A valid JPEG frame by default. `headers` replace those of the same name; None removes one."""

    key: bytes | None = b"call-7"
    value: bytes | None = b"\xff\xd8\xff"
    headers: dict[str, bytes | None] = field(default_factory=dict)

    @property
    def all_headers(self) -> Headers:
        return tuple((name, value) for name, value in (FRAME | self.headers).items() if value is not None)


FRAME: dict[str, bytes | None] = {
    "ce_specversion": b"1.0",
    "ce_type": b"org.deepguard.media.frame",
    "ce_source": b"/ingest/camera-1",
    "ce_id": b"call-7/1700000000/3",
    "ce_time": b"2023-11-14T22:13:20.500Z",
    "ce_partitionkey": b"call-7",
    "ce_streamepoch": b"1700000000",
    "ce_sequence": b"000000000003",
    "content-type": b"image/jpeg",
    "ce_pts": b"45000",
    "ce_timebase": b"1/90000",
}
UNIT: dict[str, bytes | None] = {
    "ce_type": b"org.deepguard.media.unit", "content-type": b"video/h264", "ce_keyframe": b"1"
}
EOS: dict[str, bytes | None] = {
    "ce_type": b"org.deepguard.media.eos", "content-type": b"application/json", "ce_pts": None, "ce_timebase": None
}
