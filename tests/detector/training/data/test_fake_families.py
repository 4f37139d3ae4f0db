"""Families of pseudo-fakes change pixels inside the mask only, also after degradation."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from detector.training.data import degradations
from detector.training.data.fake_families import SHARES, PseudoFakeFactory, families
from detector.training.data.samples import MASK_SIDE, pseudo_fake_pair, replaced_cells
from detector.training.data.swap_autoencoder import DrawSettings, draw_patches, patch_of
from detector.training.evaluation.calibration_fit import logistic
from detector.training.evaluation.estimates import auc
from tests.detector.pictures import portrait

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from detector.training.data.face_blending import BlendedPair
    from detector.training.data.fake_protocol import FakeFamily

PEOPLE = [replace(portrait(seed), name=f"picture-{seed}") for seed in range(8)]
# Stands for the patches of an autoencoder, as soft as they are.
PATCHES = {face.name: np.stack([cv2.GaussianBlur(patch_of(face), (0, 0), 1.5)]) for face in PEOPLE}
KINDS = families(PATCHES)
_BLOCK_PX = 8


def pairs(kind: FakeFamily, count: int) -> list[BlendedPair]:
    rng = np.random.default_rng(2)
    return [kind.make(rng, PEOPLE[index % len(PEOPLE)], PEOPLE) for index in range(count)]


def test_every_family_has_its_share() -> None:
    assert {kind.name for kind in KINDS} | {"latent", "redrawn"} == set(SHARES)
    assert sum(SHARES.values()) == pytest.approx(1)
    assert "decoded" not in {kind.name for kind in families({})}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_halves_are_bit_identical_outside_the_mask_and_differ_inside(kind: FakeFamily) -> None:
    for pair in pairs(kind, 6):
        outside = pair.mask == 0
        assert outside.mean() > 0.2
        assert np.array_equal(pair.real[outside], pair.fake[outside])
        assert (pair.real[~outside] != pair.fake[~outside]).mean() > 0.05
        assert pair.kind == kind.name


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_blocks_outside_the_mask_do_not_reveal_the_label(kind: FakeFamily) -> None:
    """The leak test: after the whole degradation, a classifier on blocks outside the dilated mask is at chance."""
    assert abs(leak(pairs(kind, 16)) - 0.5) < 0.03


def test_the_leak_test_detects_a_fake_coded_alone() -> None:
    coded = [replace(pair, fake=degradations.jpeg(pair.fake, 30)) for pair in pairs(KINDS[0], 16)]
    assert leak(coded) > 0.6


def leak(made: list[BlendedPair]) -> float:
    """Returns the AUC on the second half of the pairs of a block classifier fitted on the first half."""
    rng = np.random.default_rng(5)
    tables: dict[int, list[NDArray[np.float64]]] = {0: [], 1: []}
    for pair in made:
        call = replace(degradations.draw(rng, 128.0), face_px=128.0)
        mask = cv2.dilate((pair.mask > 0).astype(np.uint8), np.ones((41, 41), np.uint8))
        for label, half in enumerate((pair.real, pair.fake)):
            degraded, _ = degradations.apply(half, pair.face, call)
            size = (degraded.shape[1], degraded.shape[0])
            outside = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST) == 0
            tables[label].append(block_features(degraded, outside))
    half_count = len(tables[0]) // 2
    train_x, train_y = stacked(tables, slice(0, half_count))
    test_x, test_y = stacked(tables, slice(half_count, None))
    centre, spread = train_x.mean(axis=0), train_x.std(axis=0)
    weights, _ = logistic((train_x - centre) / spread, train_y, np.ones(len(train_y)), ridge=1e-3)
    assert len(test_y) > 1000
    return auc(test_y, (test_x - centre) / spread @ weights)


def block_features(rgb: NDArray[np.uint8], outside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Returns mean, spread, edge energy and range of the 8x8 blocks entirely outside the mask."""
    grey = rgb.astype(np.float64).mean(axis=2)
    rows = []
    for top in range(0, grey.shape[0] - _BLOCK_PX, _BLOCK_PX):
        for left in range(0, grey.shape[1] - _BLOCK_PX, _BLOCK_PX):
            place = np.s_[top : top + _BLOCK_PX, left : left + _BLOCK_PX]
            if outside[place].all():
                block = grey[place]
                rows.append([block.mean(), block.std(), np.abs(np.diff(block, axis=0)).mean(), np.ptp(block)])
    return np.log(np.array(rows).reshape(-1, 4) + 1)


def stacked(tables: dict[int, list[NDArray[np.float64]]], part: slice) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    rows = [np.concatenate(tables[label][part]) for label in (0, 1)]
    return np.concatenate(rows), np.repeat([0, 1], [len(rows[0]), len(rows[1])])


def test_restored_fakes_are_equally_often_sharper_and_softer_inside() -> None:
    (restored,) = (kind for kind in KINDS if kind.name == "restored")
    ratios = []
    for pair in pairs(restored, 24):
        inside = pair.mask > 0.9 * pair.mask.max()
        energy = [np.abs(cv2.Laplacian(half, cv2.CV_32F))[inside].mean() for half in (pair.fake, pair.real)]
        ratios.append(np.log(energy[0] / energy[1]))
    assert 0.25 < np.mean(np.array(ratios) > 0) < 0.75


def test_a_family_can_be_held_out() -> None:
    rng = np.random.default_rng(0)
    factory = PseudoFakeFactory(PEOPLE, KINDS, held_out="swap")
    assert {factory.pair(rng)[0].kind for _ in range(40)} == {"self", "lips", "restored", "decoded"}
    with pytest.raises(ValueError, match="expected one of"):
        PseudoFakeFactory(PEOPLE, KINDS, held_out="morph")


def test_the_mask_is_cropped_like_its_picture() -> None:
    pair = pairs(KINDS[1], 1)[0]
    call = replace(degradations.draw(np.random.default_rng(1), 128.0), box_jitter=(0.0, 0.0, 1.0))
    cells = replaced_cells(pair, call)
    assert cells.shape == (MASK_SIDE, MASK_SIDE)
    assert cells.max() <= 254
    assert cells[4:10, 4:10].mean() > 2 * np.concatenate([cells[0], cells[-1]]).mean()
    real, fake = pseudo_fake_pair(PseudoFakeFactory(PEOPLE, KINDS), (0, 3))
    assert (real.label, fake.label) == (0, 1)
    assert not real.mask.any()
    assert fake.mask.any()


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_autoencoder_decodes_every_face_once(tmp_path: Path) -> None:
    settings = DrawSettings(steps=2, seed=0, cache=tmp_path)
    told: list[str] = []
    drawn = draw_patches(PEOPLE[:6], PEOPLE[6:], settings, lambda what, share: told.append(what))
    assert drawn.keys() == {face.name for face in PEOPLE}
    assert all(patches.shape == (2, 96, 96, 3) and patches.dtype == np.uint8 for patches in drawn.values())
    again = draw_patches(PEOPLE[:6], PEOPLE[6:], settings, lambda what, share: told.append("anew"))
    assert "anew" not in told
    assert all(np.array_equal(again[name], patches) for name, patches in drawn.items())
