"""The two seams of the detector. Implementations: `faces.MtcnnFaceFinder`, `engine.OpenVinoScorer`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from detector.types import DetectedFace, FaceBox, FaceCrop, FaceScore, ModelInfo


class FaceFinder(Protocol):
    """Finds faces. Blocks for milliseconds; not thread-safe."""

    def find(self, rgb: NDArray[np.uint8]) -> tuple[DetectedFace, ...]:
        """Faces on an RGB uint8 (h, w, 3) frame, largest first. Raises FinderFailed."""
        ...

    def follow(self, rgb: NDArray[np.uint8], places: Sequence[FaceBox]) -> tuple[DetectedFace | None, ...]:
        """For each place the face near it on an RGB uint8 (h, w, 3) frame, or None. Several times cheaper than `find`.

        Raises FinderFailed.
        """
        ...


class FaceScorer(Protocol):
    """Scores faces in batches. Blocks for milliseconds; not thread-safe."""

    @property
    def info(self) -> ModelInfo: ...

    def score(self, crops: Sequence[FaceCrop]) -> tuple[FaceScore, ...]:
        """One score per crop, in order; an empty batch gives an empty tuple. Raises ScorerFailed."""
        ...
