"""Batches of pairs: seed and step alone determine a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from detector.errors import TrainingRefused
from detector.training.data.batches import PairBatches, PairPicker
from detector.training.data.samples import SAMPLE_ROW, UNKNOWN, SampleSet
from detector.training.phases.deep_model import PicturePairs

if TYPE_CHECKING:
    from numpy.typing import NDArray


def samples(pairs: int, group_of: list[str], level: int) -> SampleSet:
    """Pairs of the same noise in both halves, at most `level`; every second pair has unknown masks."""
    rng = np.random.default_rng(level)
    rgb = np.repeat(rng.integers(0, level, (pairs, 224, 224, 3), dtype=np.uint8), 2, axis=0)
    rows = np.zeros(2 * pairs, SAMPLE_ROW)
    rows["label"], rows["group"] = np.tile([0, 1], pairs), np.repeat(group_of, 2)
    masks = np.zeros((2 * pairs, 14, 14), np.uint8)
    masks[1::2, 3:9, 3:9] = 254
    masks[2::4] = masks[3::4] = UNKNOWN
    return SampleSet(rgb, rows, masks)


def part(pairs: int = 4, level: int = 100) -> PicturePairs:
    return PicturePairs(samples(pairs, [f"g{index % 2}" for index in range(pairs)], level), np.arange(pairs), 64)


def test_both_halves_of_a_pair_get_the_same_augmentation() -> None:
    batch = PairBatches([part()], 40, seed=1).batch(1)
    assert batch.inputs.shape == (80, 64, 64, 3)
    assert batch.inputs.dtype == np.uint8
    assert np.array_equal(batch.inputs[::2], batch.inputs[1::2])
    assert np.array_equal(batch.labels[:, 0], np.tile([0, 1], 40))
    known = (batch.masks != UNKNOWN).all(axis=(1, 2))
    assert np.array_equal(known, (batch.masks != UNKNOWN).any(axis=(1, 2))), "whole masks are known, or none of it"
    assert 0 < known.sum() < 80
    assert not batch.masks[::2][known[::2]].any()
    assert batch.masks[1::2][known[1::2]].any(axis=(1, 2)).mean() > 0.9


def test_a_batch_does_not_depend_on_earlier_batches() -> None:
    batches = PairBatches([part()], 3, seed=1)
    second = batches.batch(2)
    batches.batch(7)
    for again in (batches.batch(2), PairBatches([part()], 3, seed=1).batch(2)):
        assert all(np.array_equal(one, other) for one, other in zip(again, second, strict=True))
    others = (batches.batch(3), PairBatches([part()], 3, seed=2).batch(2))
    assert not any(np.array_equal(other.inputs, second.inputs) for other in others)


def test_sources_share_a_batch_and_an_empty_one_is_left_out() -> None:
    low, high = part(level=40), part(level=250)
    empty = PicturePairs(samples(2, ["a", "b"], 40), np.arange(0), 64)

    def bright(parts: list[PicturePairs], pairs: int) -> NDArray[np.bool_]:
        inputs = PairBatches(parts, pairs, seed=0).batch(1).inputs
        return inputs[::2].mean(axis=(1, 2, 3)) > 60

    assert bright([low, high], 5).tolist() == [False, False, True, True, True]
    assert bright([empty, high], 5).tolist() == [True] * 5
    with pytest.raises(TrainingRefused, match="no pairs"):
        bright([empty], 5)


def test_sources_get_their_shares_and_the_last_gets_the_remainder() -> None:
    low, high = part(level=40), part(level=250)

    def dark(shares: tuple[float, ...], pairs: int) -> int:
        inputs = PairBatches([low, high], pairs, seed=0, shares=shares).batch(1).inputs
        return int((inputs[::2].mean(axis=(1, 2, 3)) < 60).sum())

    assert dark((0.75, 0.25), 16) == 12
    assert dark((0.5, 0.5), 5) == 2
    assert dark((0.01, 0.99), 5) == 0
    with pytest.raises(ValueError, match="shorter"):
        dark((1.0,), 4)


def test_strata_are_drawn_with_equal_probability() -> None:
    rows = samples(4, ["a", "b", "c", "d"], 250)
    rows.rgb[:6] //= 8
    strata = np.array(["many", "many", "many", "one"])
    batch = PairBatches([PicturePairs(rows, np.arange(4), 64, strata)], 200, seed=0).batch(1)
    assert 0.4 < (batch.inputs[::2].mean(axis=(1, 2, 3)) > 60).mean() < 0.6


def test_groups_are_drawn_with_equal_probability() -> None:
    groups = np.array(["few"] * 2 + ["many"] * 98)
    picker = PairPicker(np.arange(100), groups)
    picked = np.array(list(picker.pick(np.random.default_rng(0), 2000)))
    assert len(picker) == 2
    assert 0.45 < (picked < 2).mean() < 0.55
    assert len(set(picked[picked >= 2])) > 90
