"""Batches of whole pairs, real and fake halves in turn: what one holds is decided by seed and step alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from detector.errors import TrainingRefused

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    Inputs = NDArray[Any]
    Masks = NDArray[np.uint8]


class Batch(NamedTuple):
    """What the network takes, labels float32 (n, 1), and masks uint8 (n, rows, columns) in 0..254, 255 if unknown."""

    inputs: Inputs
    labels: NDArray[np.float32]
    masks: Masks


class PairSource(Protocol):
    """One source of pairs."""

    def __len__(self) -> int:
        """Groups; 0 where there is nothing to draw."""

    def draw(self, rng: np.random.Generator, count: int) -> tuple[Inputs, Masks]:
        """`count` pairs: 2 * count inputs, real and fake in turn, and their masks."""


class PairBatches:
    """Batches of `pairs` pairs, as many of each part that has any."""

    def __init__(self, parts: Sequence[PairSource], pairs: int, seed: int) -> None:
        """Raises TrainingRefused where there are no pairs at all."""
        self._parts = [part for part in parts if len(part)]
        if not self._parts:
            raise TrainingRefused("there are no pairs to train on")
        self._pairs = pairs
        self._seed = seed

    def batch(self, step: int) -> Batch:
        """The batch of one step; the same whatever was drawn before."""
        rng = np.random.default_rng((self._seed, step))
        share = self._pairs // len(self._parts)
        counts = [share] * (len(self._parts) - 1) + [self._pairs - share * (len(self._parts) - 1)]
        drawn = [part.draw(rng, count) for part, count in zip(self._parts, counts, strict=True)]
        inputs, masks = (np.concatenate(by_network) for by_network in zip(*drawn, strict=True))
        labels = np.tile(np.array([[0.0], [1.0]], dtype=np.float32), (self._pairs, 1))
        return Batch(inputs, labels, masks)


class PairPicker:
    """Picks among `pairs` (numbers k of the row pairs 2k and 2k + 1), every one of their groups as often."""

    def __init__(self, pairs: NDArray[np.intp], groups: NDArray[np.str_]) -> None:
        self._by_group = [pairs[groups == group] for group in np.unique(groups)]

    def __len__(self) -> int:
        return len(self._by_group)

    def pick(self, rng: np.random.Generator, count: int) -> Iterator[int]:
        """`count` pairs, each drawn when it is asked for: the caller may draw from `rng` in between."""
        for group in rng.integers(0, len(self._by_group), count):
            yield int(rng.choice(self._by_group[group]))
