"""Face blending: both halves of a pair are identical outside the mask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from detector.training.data import face_blending
from tests.detector.pictures import face_at, portrait

if TYPE_CHECKING:
    from detector.training.data.face_blending import BlendedPair

PEOPLE = [portrait(seed) for seed in range(8)]


def pairs(count: int, seed: int) -> list[BlendedPair]:
    rng = np.random.default_rng(seed)
    made = []
    for index in range(count):
        target = PEOPLE[index % len(PEOPLE)]
        if index % 2:
            made.append(face_blending.swap_face(rng, target, face_blending.nearest_source(rng, target, PEOPLE)))
        else:
            made.append(face_blending.self_blend(rng, target))
    return made


def test_halves_are_bit_identical_outside_the_mask_and_differ_inside() -> None:
    for pair in pairs(24, seed=1):
        outside = pair.mask == 0
        assert outside.mean() > 0.2
        assert np.array_equal(pair.real[outside], pair.fake[outside])
        assert (pair.real[~outside] != pair.fake[~outside]).mean() > 0.05
        assert 0 <= pair.mask.min() <= pair.mask.max() <= 1


def test_the_mask_covers_eyes_and_mouth_or_the_mouth_alone() -> None:
    rng = np.random.default_rng(0)
    face = face_at(64, 64, 128)
    kinds = {"face": 0, "mouth": 0}
    for _ in range(60):
        mask = face_blending.face_mask(rng, face, (256, 256))
        at = [mask[round(float(y)), round(float(x))] for x, y in face.landmarks]
        assert at[3] == at[4] == 1, "the mouth is always inside"
        kinds["face" if at[0] and at[1] else "mouth"] += 1
    assert kinds["face"] > 40
    assert kinds["mouth"] > 0


def test_about_half_of_the_self_blends_are_sharper_inside() -> None:
    rng = np.random.default_rng(7)
    ratios = []
    for index in range(80):
        pair = face_blending.self_blend(rng, PEOPLE[index % len(PEOPLE)])
        inside = pair.mask > 0.9 * pair.mask.max()
        energy = [np.abs(cv2.Laplacian(half, cv2.CV_32F))[inside].mean() for half in (pair.fake, pair.real)]
        ratios.append(np.log((energy[0] + 0.1) / (energy[1] + 0.1)))
    assert 0.3 < np.mean(np.array(ratios) > 0) < 0.7


def test_a_swap_needs_another_person() -> None:
    with pytest.raises(ValueError, match="no other person"):
        face_blending.nearest_source(np.random.default_rng(0), PEOPLE[0], [PEOPLE[0]])


def test_colours_are_matched_inside_the_mask() -> None:
    mask = np.zeros((256, 256), np.float32)
    mask[80:180, 80:180] = 1
    source, target = PEOPLE[0].rgb, PEOPLE[3].rgb
    matched = face_blending.match_colours(source, target, mask, 1.0)
    inside = mask > 0
    before = np.abs(source[inside].mean(axis=0) - target[inside].mean(axis=0)).max()
    after = np.abs(matched[inside].mean(axis=0) - target[inside].mean(axis=0)).max()
    assert after < before / 3


@pytest.mark.parametrize("way", ["poisson", "two bands"])
def test_all_blends_leave_pixels_outside_the_mask_unchanged(way: str) -> None:
    mask = cv2.GaussianBlur(face_blending.face_mask(np.random.default_rng(1), PEOPLE[0].face, (256, 256)), (0, 0), 3)
    source, target = PEOPLE[1].rgb, PEOPLE[0].rgb
    if way == "poisson":
        fake, changed = face_blending.poisson_blend(source, target, mask)
    else:
        fake, changed = face_blending.two_band_blend(source, target, mask, 4.0)
    assert np.array_equal(fake[changed == 0], target[changed == 0])
    assert (fake != target).any()


def test_mirroring_exchanges_left_and_right_and_twice_restores_the_face() -> None:
    person = PEOPLE[2]
    once = face_blending.mirrored(person)
    assert once.face.landmarks[0, 0] < once.face.landmarks[1, 0]
    twice = face_blending.mirrored(once)
    assert np.array_equal(twice.rgb, person.rgb)
    assert np.allclose(twice.face.landmarks, person.face.landmarks)
