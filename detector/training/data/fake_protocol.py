"""Protocol of a family of pseudo-fakes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from detector.training.data.datasets import LocatedFace
    from detector.training.data.face_blending import BlendedPair


class FakeFamily(Protocol):
    """One family of pseudo-fakes."""

    @property
    def name(self) -> str: ...

    def make(self, rng: np.random.Generator, target: LocatedFace, others: Sequence[LocatedFace]) -> BlendedPair:
        """Returns a pair made of `target`'s picture. Raises ValueError where these faces allow none."""
        ...
