from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector import image_pyramid

BASE_SCALE, FACTOR = 12 / 28.2, 0.709
frame_sides = st.integers(1, 1500)


def levels_of(width: int, height: int) -> tuple[image_pyramid.PyramidLevel, ...]:
    return image_pyramid.pack_levels(image_pyramid.level_sizes(width, height, BASE_SCALE, FACTOR))


def test_levels_shrink_until_no_cell_fits() -> None:
    sizes = image_pyramid.level_sizes(640, 360, BASE_SCALE, FACTOR)
    assert sizes[0][1:] == (272, 153)
    assert all(min(width, height) >= image_pyramid.CELL_PX for _, width, height in sizes)
    assert 360 * sizes[-1][0] * FACTOR < image_pyramid.CELL_PX


@pytest.mark.parametrize("size", [(1, 1), (27, 640), (8192, 20)])
def test_pictures_too_small_for_a_face_have_no_levels(size: tuple[int, int]) -> None:
    assert levels_of(*size) == ()


@given(frame_sides, frame_sides)
def test_levels_do_not_overlap_and_start_at_even_pixels(width: int, height: int) -> None:
    levels = levels_of(width, height)
    assert not any(first.overlaps(second) for first, second in itertools.combinations(levels, 2))
    assert all(level.left % 2 == 0 and level.top % 2 == 0 for level in levels)
    if levels:
        canvas_width, canvas_height = image_pyramid.canvas_size(levels)
        assert all(level.right <= canvas_width and level.bottom <= canvas_height for level in levels)


def test_the_canvas_is_mostly_covered_by_levels() -> None:
    levels = levels_of(640, 360)
    canvas_width, canvas_height = image_pyramid.canvas_size(levels)
    assert canvas_width * canvas_height < 1.25 * sum(level.width * level.height for level in levels)


@given(frame_sides, frame_sides)
def test_every_level_owns_the_cells_it_would_have_alone(width: int, height: int) -> None:
    levels = levels_of(width, height)
    if not levels:
        return
    canvas_width, canvas_height = image_pyramid.canvas_size(levels)
    # P-Net: 3x3, pooling by 2, 3x3, 3x3, on sides that are even.
    owner = image_pyramid.cell_levels(levels, (canvas_height - 10) // 2, (canvas_width - 10) // 2)
    for index, level in enumerate(levels):
        alone = [-(-(side - 2) // 2) - 4 for side in (level.height, level.width)]
        rows, columns = np.nonzero(owner == index)
        assert len(rows) == alone[0] * alone[1]
        assert (2 * rows.min(), 2 * columns.min()) == (level.top, level.left)


@given(st.floats(0.001, 1))
def test_levels_are_never_resized_from_a_smaller_picture(scale: float) -> None:
    count, _ = image_pyramid.source_halvings(scale)
    assert count >= 0
    assert scale * 2**count <= 1
