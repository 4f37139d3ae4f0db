"""Media limits: upper bounds on size and length, checked before decoding. No I/O."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from stream.errors import MediaRefused


class ExceededLimit(StrEnum):
    """The limit that a piece of media exceeds."""

    PIXELS = "pixels"
    SIDE = "side"
    DURATION = "duration"
    FRAMES = "frames"
    BYTES = "bytes"


class MediaLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Upper bounds, all inclusive. `video_*` applies to every frame of live and recorded video; `picture_*` to stills.

    JPEGs of up to `shrunk_picture_pixels` are shrunk to `picture_pixels` while they are decoded. `unit_bytes` bounds
    one media unit. `job_s` bounds the seconds that one file may keep a worker busy. `samples` bounds the scored frames
    of one file, `faces` the faces examined per frame, largest first.
    """

    video_pixels: int = 8_912_896
    video_side_px: int = 8192
    picture_pixels: int = 25_000_000
    shrunk_picture_pixels: int = 100_000_000
    picture_side_px: int = 8192
    duration_s: float = 600.0
    frames: int = 72_000
    file_bytes: int = 512 * 2**20
    picture_bytes: int = 64 * 2**20
    unit_bytes: int = 4 * 2**20
    job_s: float = 60.0
    samples: int = 600
    faces: int = 16

    def video_excess(self, width_px: int, height_px: int) -> ExceededLimit | None:
        """Returns the limit that a video frame of this size exceeds, or None."""
        return _excess(width_px, height_px, self.video_side_px, self.video_pixels)

    def picture_excess(self, width_px: int, height_px: int) -> ExceededLimit | None:
        """Returns the limit that a still of this size exceeds, or None."""
        return _excess(width_px, height_px, self.picture_side_px, self.picture_pixels)

    def check_video(self, width_px: int, height_px: int) -> None:
        """Raises MediaRefused (`too_large`, 413)."""
        excess = self.video_excess(width_px, height_px)
        _refuse(excess, (width_px, height_px), self.video_side_px, self.video_pixels)

    def check_picture(self, width_px: int, height_px: int) -> None:
        """Raises MediaRefused (`too_large`, 413)."""
        excess = self.picture_excess(width_px, height_px)
        _refuse(excess, (width_px, height_px), self.picture_side_px, self.picture_pixels)

    def check_length(self, duration_s: float, frames: int) -> None:
        """Raises MediaRefused (`too_large`, 413) if a video is too long in time or in frames."""
        if duration_s > self.duration_s:
            raise too_large(f"the video lasts {duration_s:.0f} s; the limit is {self.duration_s:.0f} s")
        if frames > self.frames:
            raise too_large(f"the video has more frames than the limit of {self.frames}")


def too_large(message: str) -> MediaRefused:
    return MediaRefused("too_large", message, 413)


def _excess(width_px: int, height_px: int, side_px: int, pixels: int) -> ExceededLimit | None:
    if max(width_px, height_px) > side_px:
        return ExceededLimit.SIDE
    if width_px * height_px > pixels:
        return ExceededLimit.PIXELS
    return None


def _refuse(excess: ExceededLimit | None, size_px: tuple[int, int], side_px: int, pixels: int) -> None:
    width, height = size_px
    if excess is ExceededLimit.SIDE:
        raise too_large(f"{width} x {height} pixels: no side may be over {side_px}")
    if excess is not None:
        raise too_large(f"{width} x {height} = {width * height} pixels are over the limit of {pixels}")
