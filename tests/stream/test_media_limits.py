from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.errors import MediaRefused
from stream.media_limits import ExceededLimit, MediaLimits

LIMITS = MediaLimits()


@pytest.mark.parametrize(
    ("width_px", "height_px", "excess"),
    [
        (4096, 2176, None),             # exactly 8,912,896 pixels
        (4096, 2177, ExceededLimit.PIXELS),
        (8192, 1, None),
        (8193, 1, ExceededLimit.SIDE),
        (1, 8193, ExceededLimit.SIDE),
        (0, 0, None),                   # not known yet: the decoder's own limit applies
    ],
)
def test_video_bounds_are_inclusive(width_px: int, height_px: int, excess: ExceededLimit | None) -> None:
    assert LIMITS.video_excess(width_px, height_px) is excess


@pytest.mark.parametrize(
    ("width_px", "height_px", "excess"),
    [(5000, 5000, None), (5001, 5000, ExceededLimit.PIXELS), (8192, 3051, None), (8193, 2, ExceededLimit.SIDE)],
)
def test_picture_bounds_are_inclusive(width_px: int, height_px: int, excess: ExceededLimit | None) -> None:
    assert LIMITS.picture_excess(width_px, height_px) is excess


@given(st.integers(0, 2**31), st.integers(0, 2**31))
def test_orientation_does_not_matter(width_px: int, height_px: int) -> None:
    assert LIMITS.picture_excess(width_px, height_px) is LIMITS.picture_excess(height_px, width_px)
    assert LIMITS.video_excess(width_px, height_px) is LIMITS.video_excess(height_px, width_px)


def test_refusals_are_413_and_name_the_limit() -> None:
    with pytest.raises(MediaRefused, match="10000 x 10000") as refused:
        LIMITS.check_picture(10_000, 10_000)
    assert (refused.value.code, refused.value.status) == ("too_large", 413)


@pytest.mark.parametrize(("duration_s", "frames"), [(600.1, 10), (10.0, 72_001)])
def test_long_videos_are_refused(duration_s: float, frames: int) -> None:
    LIMITS.check_length(600.0, 72_000)
    with pytest.raises(MediaRefused) as refused:
        LIMITS.check_length(duration_s, frames)
    assert refused.value.code == "too_large"
