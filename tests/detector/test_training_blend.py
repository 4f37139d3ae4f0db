"""Pseudo-fakes: both halves are the same picture but for the mask, and nothing outside it tells them apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from detector.training import augment, blend
from detector.training.calibrate import logistic
from detector.training.evaluate import auc
from tests.detector.pictures import face_at, portrait

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from detector.training.blend import Pair

PEOPLE = [portrait(seed) for seed in range(8)]
_BLOCK_PX = 8


def pairs(count: int, seed: int) -> list[Pair]:
    rng = np.random.default_rng(seed)
    made = []
    for index in range(count):
        target = PEOPLE[index % len(PEOPLE)]
        if index % 2:
            made.append(blend.swap(rng, target, blend.nearest_source(rng, target, PEOPLE)))
        else:
            made.append(blend.self_blend(rng, target))
    return made


def test_halves_are_bit_identical_outside_the_mask_and_differ_inside() -> None:
    for pair in pairs(24, seed=1):
        outside = pair.mask == 0
        assert outside.mean() > 0.2
        assert np.array_equal(pair.real[outside], pair.fake[outside])
        assert (pair.real[~outside] != pair.fake[~outside]).mean() > 0.05
        assert 0 <= pair.mask.min() <= pair.mask.max() <= 1


def block_features(rgb: NDArray[np.uint8], outside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean, spread, edge energy and DC-free energy of 8x8 blocks that lie wholly outside."""
    grey = rgb.astype(np.float64).mean(axis=2)
    rows = []
    for top in range(0, grey.shape[0] - _BLOCK_PX, _BLOCK_PX):
        for left in range(0, grey.shape[1] - _BLOCK_PX, _BLOCK_PX):
            place = np.s_[top : top + _BLOCK_PX, left : left + _BLOCK_PX]
            if outside[place].all():
                block = grey[place]
                rows.append([block.mean(), block.std(), np.abs(np.diff(block, axis=0)).mean(), np.ptp(block)])
    return np.log(np.array(rows).reshape(-1, 4) + 1)


@pytest.mark.slow
def test_blocks_outside_the_mask_do_not_give_the_label_away() -> None:
    """The leak test: after the whole degradation, a classifier on blocks outside the dilated mask is at chance."""
    rng = np.random.default_rng(5)
    tables: dict[int, list[NDArray[np.float64]]] = {0: [], 1: []}
    for pair in pairs(40, seed=2):
        call = augment.draw(rng, 128.0)
        mask = cv2.dilate((pair.mask > 0).astype(np.uint8), np.ones((41, 41), np.uint8))
        for label, half in enumerate((pair.real, pair.fake)):
            degraded, _ = augment.apply(half, pair.face, call)
            size = (degraded.shape[1], degraded.shape[0])
            outside = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST) == 0
            tables[label].append(block_features(degraded, outside))
    half_count = len(tables[0]) // 2
    train_x, train_y = stacked(tables, slice(0, half_count))
    test_x, test_y = stacked(tables, slice(half_count, None))
    centre, spread = train_x.mean(axis=0), train_x.std(axis=0)
    weights, _ = logistic((train_x - centre) / spread, train_y, np.ones(len(train_y)), ridge=1e-3)
    assert len(test_y) > 2000
    assert abs(auc(test_y, (test_x - centre) / spread @ weights) - 0.5) < 0.03


def stacked(tables: dict[int, list[NDArray[np.float64]]], part: slice) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    rows = [np.concatenate(tables[label][part]) for label in (0, 1)]
    return np.concatenate(rows), np.repeat([0, 1], [len(rows[0]), len(rows[1])])


def test_the_mask_covers_eyes_and_mouth_or_the_mouth_alone() -> None:
    rng = np.random.default_rng(0)
    face = face_at(64, 64, 128)
    kinds = {"face": 0, "mouth": 0}
    for _ in range(60):
        mask = blend.face_mask(rng, face, (256, 256))
        at = [mask[round(float(y)), round(float(x))] for x, y in face.landmarks]
        assert at[3] == at[4] == 1, "the mouth is always inside"
        kinds["face" if at[0] and at[1] else "mouth"] += 1
    assert kinds["face"] > 40
    assert kinds["mouth"] > 0


def test_about_half_of_the_self_blends_are_sharper_inside() -> None:
    rng = np.random.default_rng(7)
    ratios = []
    for index in range(80):
        pair = blend.self_blend(rng, PEOPLE[index % len(PEOPLE)])
        inside = pair.mask > 0.9 * pair.mask.max()
        energy = [np.abs(cv2.Laplacian(half, cv2.CV_32F))[inside].mean() for half in (pair.fake, pair.real)]
        ratios.append(np.log((energy[0] + 0.1) / (energy[1] + 0.1)))
    assert 0.3 < np.mean(np.array(ratios) > 0) < 0.7


def test_a_swap_needs_another_person() -> None:
    with pytest.raises(ValueError, match="no other person"):
        blend.nearest_source(np.random.default_rng(0), PEOPLE[0], [PEOPLE[0]])


def test_colours_are_matched_inside_the_mask() -> None:
    mask = np.zeros((256, 256), np.float32)
    mask[80:180, 80:180] = 1
    source, target = PEOPLE[0].rgb, PEOPLE[3].rgb
    matched = blend.match_colours(source, target, mask, 1.0)
    inside = mask > 0
    before = np.abs(source[inside].mean(axis=0) - target[inside].mean(axis=0)).max()
    after = np.abs(matched[inside].mean(axis=0) - target[inside].mean(axis=0)).max()
    assert after < before / 3


@pytest.mark.parametrize("way", ["poisson", "two bands"])
def test_other_blends_leave_the_outside_alone(way: str) -> None:
    mask = cv2.GaussianBlur(blend.face_mask(np.random.default_rng(1), PEOPLE[0].face, (256, 256)), (0, 0), 3)
    source, target = PEOPLE[1].rgb, PEOPLE[0].rgb
    if way == "poisson":
        fake, changed = blend.poisson_blend(source, target, mask)
    else:
        fake, changed = blend.two_band_blend(source, target, mask, 4.0)
    assert np.array_equal(fake[changed == 0], target[changed == 0])
    assert (fake != target).any()


def test_mirroring_twice_is_nothing_and_swaps_left_and_right() -> None:
    person = PEOPLE[2]
    once = blend.mirrored(person)
    assert once.face.landmarks[0, 0] < once.face.landmarks[1, 0]
    twice = blend.mirrored(once)
    assert np.array_equal(twice.rgb, person.rgb)
    assert np.allclose(twice.face.landmarks, person.face.landmarks)
