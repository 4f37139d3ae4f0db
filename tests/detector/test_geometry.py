from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector import geometry
from detector.types import FaceBox

sides = st.floats(-500, 500, allow_nan=False, width=32)
boxes = st.builds(
    lambda left, top, width, height: FaceBox(left, top, left + width, top + height),
    sides,
    sides,
    st.floats(1, 300, width=32),
    st.floats(1, 300, width=32),
)


def test_iou_of_half_overlapping_boxes() -> None:
    assert geometry.iou(FaceBox(0, 0, 10, 10), FaceBox(5, 0, 15, 10)) == pytest.approx(1 / 3)


def test_iou_without_overlap_or_area_is_zero() -> None:
    assert geometry.iou(FaceBox(0, 0, 10, 10), FaceBox(10, 0, 20, 10)) == 0
    assert geometry.iou(FaceBox(5, 5, 5, 5), FaceBox(5, 5, 5, 5)) == 0


@given(boxes, boxes)
def test_iou_is_symmetric_bounded_and_one_for_the_same_box(first: FaceBox, second: FaceBox) -> None:
    assert 0 <= geometry.iou(first, second) <= 1 + 1e-9
    assert geometry.iou(first, second) == pytest.approx(geometry.iou(second, first))
    assert geometry.iou(first, first) == pytest.approx(1)


@given(st.lists(boxes, max_size=5), st.lists(boxes, max_size=5))
def test_pairwise_iou_is_iou_of_every_pair(first: list[FaceBox], second: list[FaceBox]) -> None:
    expected = np.array([[geometry.iou(a, b) for b in second] for a in first]).reshape(len(first), len(second))
    found = geometry.pairwise_iou(geometry.box_array(first), geometry.box_array(second))
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_overlap_of_the_smaller_box() -> None:
    inner, outer = np.array([[2.0, 2.0, 4.0, 4.0]]), np.array([[0.0, 0.0, 10.0, 10.0]])
    assert geometry.pairwise_overlap_of_smaller(inner, outer) == pytest.approx(1)


def test_inverted_boxes_have_no_area_and_no_overlap() -> None:
    inverted = np.array([[10.0, 10.0, 0.0, 0.0]])
    assert geometry.areas(inverted).tolist() == [0]
    assert geometry.pairwise_iou(inverted, inverted).tolist() == [[0]]


def test_a_suppressed_box_still_suppresses() -> None:
    """Box 0 overlaps 1, 1 overlaps 2, 0 does not overlap 2: by the rule of the reference only 0 remains."""
    overlaps = np.array([[1, 1, 0], [1, 1, 1], [0, 1, 1]], dtype=bool)
    assert geometry.suppress_overlaps(overlaps).tolist() == [0]


def test_suppression_of_no_boxes() -> None:
    assert geometry.suppress_overlaps(np.zeros((0, 0), dtype=bool)).tolist() == []


@given(boxes)
def test_squares_keep_the_centre_and_take_the_longer_side(box: FaceBox) -> None:
    left, top, right, bottom = geometry.enclosing_squares(geometry.box_array([box]))[0]
    assert right - left == pytest.approx(max(box.width, box.height), abs=1e-3)
    assert bottom - top == pytest.approx(max(box.width, box.height), abs=1e-3)
    assert ((left + right) / 2, (top + bottom) / 2) == pytest.approx(box.centre, abs=1e-3)


@given(boxes, st.floats(0.5, 2))
def test_square_box_is_the_scaled_square(box: FaceBox, factor: float) -> None:
    square = geometry.square_box(box, factor)
    assert square.width == pytest.approx(max(box.width, box.height) * factor, rel=1e-6, abs=1e-6)
    assert square.width == pytest.approx(square.height, rel=1e-6, abs=1e-6)
    assert square.centre == pytest.approx(box.centre, abs=1e-3)


@given(boxes, st.integers(1, 400), st.integers(1, 400))
def test_clipped_boxes_lie_in_the_frame(box: FaceBox, width_px: int, height_px: int) -> None:
    part = geometry.clipped(box, width_px, height_px)
    assert 0 <= part.left <= part.right <= width_px
    assert 0 <= part.top <= part.bottom <= height_px
    assert geometry.clipped(part, width_px, height_px) == part
