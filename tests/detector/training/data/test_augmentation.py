"""Augmentation: pictures and masks change alike, and parameters have the documented ranges."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from detector.training.data.augmentation import CELL_PX, Augmentation, draw_augmentation
from detector.training.data.samples import MASK_SIDE, UNKNOWN

if TYPE_CHECKING:
    from numpy.typing import NDArray

NATIVE_PX = MASK_SIDE * CELL_PX
WHOLE = Augmentation(0, 0, NATIVE_PX)


def drawn(count: int) -> list[Augmentation]:
    rng = np.random.default_rng(3)
    return [draw_augmentation(rng, NATIVE_PX) for _ in range(count)]


def grey(level: int) -> NDArray[np.uint8]:
    return np.full((NATIVE_PX, NATIVE_PX, 3), level, np.uint8)


def a_mask() -> NDArray[np.uint8]:
    """Returns a mask in one corner, on which mirroring and cropping are visible."""
    mask = np.zeros((MASK_SIDE, MASK_SIDE), np.uint8)
    mask[1:6, 2:5] = 254
    return mask


@pytest.mark.parametrize("size_px", [96, 160, 224])
def test_the_mask_is_transformed_like_its_picture(size_px: int) -> None:
    mask = a_mask()
    wide = cv2.resize(mask, (NATIVE_PX, NATIVE_PX), interpolation=cv2.INTER_LINEAR)
    rgb = np.repeat(wide[:, :, None], 3, axis=2)
    for view in drawn(30):
        plain = replace(view, gain=1.0, offset=0.0, hidden=None, jpeg_quality=None)
        shown = plain.apply(rgb, size_px)
        assert shown.shape == (size_px, size_px, 3)
        count = size_px // CELL_PX
        expected = cv2.resize(shown[:, :, 0], (count, count), interpolation=cv2.INTER_AREA).astype(int)
        assert np.abs(expected - plain.apply_to_mask(mask, size_px)).max() <= 4
    assert (WHOLE.apply_to_mask(mask, NATIVE_PX) == mask).mean() > 0.8
    mirrored = replace(WHOLE, mirror=True)
    assert not np.array_equal(mirrored.apply_to_mask(mask, size_px), WHOLE.apply_to_mask(mask, size_px))


@pytest.mark.parametrize("size_px", [96, 160, 224])
def test_an_unknown_mask_stays_unknown(size_px: int) -> None:
    mask = np.full((MASK_SIDE, MASK_SIDE), UNKNOWN, np.uint8)
    views = drawn(30)
    assert any(view.hidden is not None for view in views)
    assert all((view.apply_to_mask(mask, size_px) == UNKNOWN).all() for view in views)


def test_the_occluded_box_is_grey_and_counts_as_real() -> None:
    view = Augmentation(0, 0, NATIVE_PX, gain=0.5, hidden=(0.0, 0.0, 0.5, 1.0))
    shown, cells = view.apply(grey(200), NATIVE_PX), view.apply_to_mask(np.full((14, 14), 254, np.uint8), NATIVE_PX)
    assert (shown[:, : NATIVE_PX // 2] == 128).all()
    assert (shown[:, NATIVE_PX // 2 :] == 100).all()
    assert (cells[:, :7] == 0).all()
    assert (cells[:, 7:] == 254).all()


def test_light_is_clipped_and_the_input_is_not_modified() -> None:
    rgb = grey(250)
    assert (replace(WHOLE, gain=1.15, offset=15).apply(rgb, 160) == 255).all()
    assert (rgb == 250).all()
    assert np.array_equal(WHOLE.apply(rgb, NATIVE_PX), rgb)


def test_draws_vary_and_often_keep_the_whole_picture() -> None:
    views = drawn(200)
    whole = [view for view in views if view.side == NATIVE_PX]
    assert 60 <= len(whole) <= 110
    assert all((view.left, view.top) == (0, 0) for view in whole)
    assert all(max(view.left, view.top) + view.side <= NATIVE_PX for view in views)
    for part in ("mirror", "hidden", "jpeg_quality"):
        assert 20 <= sum(bool(getattr(view, part)) for view in views) <= 130, part
