"""Protocols of the detector. Implementations: `mtcnn_finder.MtcnnFaceFinder`, `openvino_scorer.OpenVinoScorer`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from detector.types import DetectedFace, FaceBox, FaceCrop, FaceScore, ModelInfo


class FaceFinder(Protocol):
    """Finds faces on frames. Blocks for milliseconds; not thread-safe."""

    def find(self, rgb: NDArray[np.uint8]) -> tuple[DetectedFace, ...]:
        """Returns the faces of an RGB uint8 (h, w, 3) frame, largest first. Raises FinderFailed."""
        ...

    def follow(self, rgb: NDArray[np.uint8], boxes: Sequence[FaceBox]) -> tuple[DetectedFace | None, ...]:
        """Returns the face near each box on an RGB uint8 (h, w, 3) frame, or None.

        Costs several times less than `find`. Raises FinderFailed.
        """
        ...


class FaceScorer(Protocol):
    """Scores batches of face crops. Blocks for milliseconds; not thread-safe."""

    @property
    def info(self) -> ModelInfo:
        """The model behind the scores."""
        ...

    def score(self, crops: Sequence[FaceCrop]) -> tuple[FaceScore, ...]:
        """Returns one score per crop, in order; an empty batch gives an empty tuple. Raises ScorerFailed."""
        ...
