"""The only place where the detector's parts are put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from detector.config import DetectorConfig
    from detector.protocols import FaceFinder, FaceScorer


def build_finder(config: DetectorConfig) -> FaceFinder:
    """Load the face finder; takes a fraction of a second. Raises WeightsRefused."""
    from detector.mtcnn_finder import MtcnnConfig, MtcnnFaceFinder

    return MtcnnFaceFinder(MtcnnConfig(num_threads=config.num_threads))


def build_scorer(config: DetectorConfig) -> FaceScorer:
    """Load and warm the scorer; takes about a second. Raises WeightsRefused: without weights there is no score."""
    from detector.openvino_scorer import OpenVinoScorer

    return OpenVinoScorer(config)
