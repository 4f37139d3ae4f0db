from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from detector.face_crop import crop_face, measure_quality
from detector.training.data import degradations
from detector.training.data.degradations import Coding
from tests.detector.pictures import portrait

PERSON = portrait(4)
NOTHING = degradations.Degradation(
    face_px=128, smoothing=0, blur_sigma_px=0, sharpen=0, noise_sd=0, noise_seed=0, gain=1, gamma=1, coding=None,
    jpeg_quality=None, box_jitter=(0, 0, 1),
)  # fmt: skip


def test_an_empty_degradation_changes_nothing() -> None:
    rgb, face = degradations.apply(PERSON.rgb, PERSON.face, NOTHING)
    assert np.array_equal(rgb, PERSON.rgb)
    assert face.box == PERSON.face.box


def test_one_degradation_changes_both_halves_alike() -> None:
    for seed in range(12):
        call = degradations.draw(np.random.default_rng(seed), 128.0)
        first, _ = degradations.apply(PERSON.rgb, PERSON.face, call)
        second, _ = degradations.apply(PERSON.rgb.copy(), PERSON.face, call)
        assert np.array_equal(first, second)


def test_scaling_moves_box_and_landmarks_along() -> None:
    rgb, face = degradations.apply(PERSON.rgb, PERSON.face, replace(NOTHING, face_px=64))
    assert rgb.shape == (128, 128, 3)
    assert face.box.width == pytest.approx(64)
    assert np.allclose(face.landmarks, PERSON.face.landmarks / 2)


def test_faces_are_never_enlarged() -> None:
    rgb, _ = degradations.apply(PERSON.rgb, PERSON.face, replace(NOTHING, face_px=900))
    assert rgb.shape == PERSON.rgb.shape
    assert all(degradations.draw(np.random.default_rng(seed), 90.0).face_px <= 90 for seed in range(50))


@pytest.mark.parametrize("codec", ["libx264", "libvpx"])
@pytest.mark.parametrize("size", [(256, 256), (97, 141)])
def test_codecs_keep_the_picture_and_lose_detail(codec: str, size: tuple[int, int]) -> None:
    rgb = PERSON.rgb[: size[0], : size[1]]
    coded = degradations.codec_pass(rgb, Coding(codec, qp=34, bits_per_pixel=0.1))
    assert coded.shape == rgb.shape
    difference = np.abs(coded.astype(int) - rgb)
    assert 0.5 < difference.mean() < 12


def test_a_coarser_quantiser_loses_more() -> None:
    fine, coarse = (degradations.codec_pass(PERSON.rgb, Coding("libx264", qp, 0.1)) for qp in (18, 40))
    assert np.abs(fine.astype(int) - PERSON.rgb).mean() < np.abs(coarse.astype(int) - PERSON.rgb).mean() / 2


def test_jpeg_light_and_noise_have_the_expected_effects() -> None:
    assert np.abs(degradations.jpeg(PERSON.rgb, 40).astype(int) - PERSON.rgb).mean() > 0.5
    dark, _ = degradations.apply(PERSON.rgb, PERSON.face, replace(NOTHING, gain=0.5))
    assert dark.mean() == pytest.approx(PERSON.rgb.mean() / 2, rel=0.05)
    noisy, _ = degradations.apply(PERSON.rgb, PERSON.face, replace(NOTHING, noise_sd=8))
    assert (noisy.astype(float) - PERSON.rgb).std() == pytest.approx(8, rel=0.1)


def test_matched_halves_have_similar_sharpness() -> None:
    soft = replace(PERSON, rgb=degradations.blurred(PERSON.rgb, 1.2))
    halves = [(0, PERSON), (1, soft)]
    before = np.log(sharpness(PERSON.rgb) / sharpness(soft.rgb))
    gaps = []
    for seed in range(16):
        made = degradations.match_sharpness(np.random.default_rng(seed), halves)
        assert [label for label, _ in made] == [0, 1]
        gaps.append(np.log(sharpness(made[0][1].rgb) / sharpness(made[1][1].rgb)))
    assert abs(float(np.mean(gaps))) < before / 3
    assert min(gaps) < 0 < max(gaps), "which half is sharper must not follow from equal sharpness either"


def sharpness(rgb: np.ndarray) -> float:
    return measure_quality(crop_face(rgb, PERSON.face)).sharpness


def test_jitter_moves_and_scales_the_box() -> None:
    moved = degradations.jittered(PERSON.face, (0.1, -0.05, 1.2)).box
    box = PERSON.face.box
    assert moved.width == pytest.approx(1.2 * box.width)
    assert moved.centre[0] == pytest.approx(box.centre[0] + 0.1 * box.width)
    assert moved.centre[1] == pytest.approx(box.centre[1] - 0.05 * box.height)
