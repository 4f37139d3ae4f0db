"""Preprocessing shared by serving and training, compared with stored pictures."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.errors import FaceNotCroppable
from detector.face_crop import (
    NATIVE_LIMIT_PX,
    crop_face,
    measure_quality,
    resize_square,
    scale_pixels,
    size_weight,
    stack_crops,
    to_network_input,
)
from detector.types import DetectedFace, FaceBox
from tests.detector.pictures import face_at, gradient

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
CASES = {
    "preprocess_inside": face_at(150, 90, 120),
    "preprocess_outside": face_at(-30, 250, 140),
    "preprocess_large": face_at(60, 20, 300),
}


@pytest.mark.parametrize("name", CASES)
def test_crops_equal_the_stored_pictures(name: str) -> None:
    crop = crop_face(gradient(360, 480), CASES[name])
    golden = cv2.imread(str(GOLDEN / f"{name}.png"), cv2.IMREAD_COLOR)
    assert golden is not None
    difference = np.abs(crop.rgb.astype(int) - golden[:, :, ::-1].astype(int))
    assert difference.max() <= 1


def test_a_crop_is_the_box_times_1_3_about_its_centre() -> None:
    rgb = gradient(400, 600)
    crop = crop_face(rgb, face_at(200, 100, 100))
    assert crop.native_rgb.shape == (130, 130, 3)
    assert np.array_equal(crop.native_rgb, rgb[85:215, 185:315])
    assert crop.face_px == 100


def test_a_tall_box_becomes_a_square_of_its_longer_side() -> None:
    face = DetectedFace(FaceBox(200, 100, 260, 200), 0.9, np.zeros((5, 2), np.float32))
    crop = crop_face(gradient(400, 600), face)
    assert crop.native_rgb.shape == (130, 130, 3)
    assert crop.face_px == 60


def test_beyond_the_frame_the_border_repeats() -> None:
    rgb = gradient(100, 100)
    crop = crop_face(rgb, face_at(-20, -20, 60))
    outside = 100 - 71  # left edge of the square is at 10 - 39 = -29
    assert np.array_equal(crop.native_rgb[outside:, outside - 1], crop.native_rgb[outside:, outside])
    assert np.array_equal(crop.native_rgb[0, 0], rgb[0, 0])


def test_colour_order_is_rgb_throughout() -> None:
    red = np.zeros((300, 300, 3), np.uint8)
    red[:, :, 0] = 255
    crop = crop_face(red, face_at(100, 100, 100))
    assert to_network_input([crop])[0, 0, 0].tolist() == [1.0, -1.0, -1.0]


def test_the_native_crop_is_bounded() -> None:
    crop = crop_face(gradient(2000, 2000), face_at(300, 300, 1200))
    assert crop.native_rgb.shape == (NATIVE_LIMIT_PX, NATIVE_LIMIT_PX, 3)


@pytest.mark.parametrize(
    "box",
    [
        FaceBox(10, 10, 10, 60),
        FaceBox(60, 10, 10, 60),
        FaceBox(float("nan"), 0, 50, 50),
        FaceBox(0, 0, float("inf"), 50),
        FaceBox(-200, 0, -100, 100),
        FaceBox(500, 0, 600, 100),
        FaceBox(-50_000, -50_000, 50_000, 50_000),
    ],
)
def test_a_box_outside_the_frame_or_without_area_is_refused(box: FaceBox) -> None:
    with pytest.raises(FaceNotCroppable):
        crop_face(gradient(300, 400), DetectedFace(box, 0.9, np.zeros((5, 2), np.float32)))


@given(
    left=st.floats(-1000, 1000), top=st.floats(-1000, 1000), width=st.floats(0, 1500), height=st.floats(0, 1500)
)
def test_any_box_is_cropped_or_refused(left: float, top: float, width: float, height: float) -> None:
    face = DetectedFace(FaceBox(left, top, left + width, top + height), 0.9, np.zeros((5, 2), np.float32))
    try:
        crop = crop_face(gradient(90, 160), face)
    except FaceNotCroppable:
        return
    assert crop.rgb.shape == (224, 224, 3)
    assert 2 <= crop.native_rgb.shape[0] <= NATIVE_LIMIT_PX


def test_network_input_is_scaled_to_plus_minus_one() -> None:
    crop = crop_face(gradient(300, 300), face_at(50, 50, 150))
    both = to_network_input([crop, crop])
    assert both.shape == (2, 224, 224, 3)
    assert both.dtype == np.float32
    assert np.allclose(both[0], crop.rgb / 127.5 - 1, atol=1e-6)
    assert scale_pixels(np.array([0, 255], np.uint8)).tolist() == [-1.0, 1.0]


def test_no_crops_make_an_empty_batch() -> None:
    assert stack_crops([]).shape == (0, 224, 224, 3)
    assert to_network_input([]).shape == (0, 224, 224, 3)


def test_resizing_keeps_a_flat_picture_flat() -> None:
    flat = np.full((50, 50, 3), 77, np.uint8)
    assert (resize_square(flat, 224) == 77).all()
    assert (resize_square(flat, 20) == 77).all()


@pytest.mark.parametrize(("face_px", "weight"), [(0, 0), (64, 0), (88, 0.5), (112, 1), (500, 1)])
def test_small_faces_weigh_less(face_px: float, weight: float) -> None:
    assert size_weight(face_px) == pytest.approx(weight)


def test_blur_lowers_sharpness_and_light_raises_luminance() -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 128, (300, 300, 3)).astype(np.uint8)
    face = face_at(100, 100, 100)
    sharp = measure_quality(crop_face(noise, face))
    soft = measure_quality(crop_face(cv2.GaussianBlur(noise, (0, 0), 2), face))
    bright = measure_quality(crop_face((noise + 100).astype(np.uint8), face))
    assert soft.sharpness < sharp.sharpness / 4
    assert bright.luminance == pytest.approx(sharp.luminance + 100 / 255, abs=0.01)
    assert sharp.weight == pytest.approx(0.75)
