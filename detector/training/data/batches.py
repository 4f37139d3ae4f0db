"""Batches of whole pairs, real and fake halves in turn; seed and step alone determine a batch."""

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
    """Inputs of the network, labels float32 (n, 1), and masks uint8 (n, rows, columns) in 0..254, 255 if unknown."""

    inputs: Inputs
    labels: NDArray[np.float32]
    masks: Masks


class PairSource(Protocol):
    """A source of pairs, for example swapped clips."""

    def __len__(self) -> int:
        """Returns the number of groups; 0 if there are no pairs."""

    def draw(self, rng: np.random.Generator, count: int) -> tuple[Inputs, Masks]:
        """Returns `count` pairs: 2 * count inputs, real and fake in turn, and their masks."""


class PairBatches:
    """Batches of `pairs` pairs, divided among the sources that are not empty."""

    def __init__(self, parts: Sequence[PairSource], pairs: int, seed: int, shares: Sequence[float] = ()) -> None:
        """`shares` are relative, one per source; equal by default. Raises TrainingRefused where all are empty."""
        used = [(part, share) for part, share in zip(parts, shares or [1.0] * len(parts), strict=True) if len(part)]
        if not used:
            raise TrainingRefused("there are no pairs to train on")
        self._parts = [part for part, _ in used]
        self._pairs = pairs
        self._counts = _split_count(pairs, [share for _, share in used])
        self._seed = seed

    def batch(self, step: int) -> Batch:
        """Returns the batch of one step, whatever was drawn before."""
        rng = np.random.default_rng((self._seed, step))
        drawn = [part.draw(rng, count) for part, count in zip(self._parts, self._counts, strict=True) if count]
        inputs, masks = (np.concatenate(by_network) for by_network in zip(*drawn, strict=True))
        labels = np.tile(np.array([[0.0], [1.0]], dtype=np.float32), (self._pairs, 1))
        return Batch(inputs, labels, masks)


def _split_count(pairs: int, shares: Sequence[float]) -> list[int]:
    """Splits `pairs` in proportion to `shares`; the last source gets the remainder of rounding."""
    counts = [int(pairs * share / sum(shares)) for share in shares[:-1]]
    return [*counts, pairs - sum(counts)]


class PairPicker:
    """Draws from `pairs`, the indices k of the row pairs 2k and 2k + 1, with equal probability for every group."""

    def __init__(self, pairs: NDArray[np.intp], groups: NDArray[np.str_]) -> None:
        self._by_group = [pairs[groups == group] for group in np.unique(groups)]

    def __len__(self) -> int:
        return len(self._by_group)

    def pick(self, rng: np.random.Generator, count: int) -> Iterator[int]:
        """Yields `count` pairs, each drawn on demand: the caller may use `rng` in between."""
        for group in rng.integers(0, len(self._by_group), count):
            yield int(rng.choice(self._by_group[group]))
