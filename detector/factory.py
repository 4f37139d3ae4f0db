"""Factories of the face finder and the face scorer that the service uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from detector.config import DetectorConfig
    from detector.protocols import FaceFinder, FaceScorer


def build_finder(config: DetectorConfig) -> FaceFinder:
    """Loads the face finder; blocks for a fraction of a second. Raises WeightsRefused."""
    from detector.mtcnn_finder import MtcnnConfig, MtcnnFaceFinder

    return MtcnnFaceFinder(MtcnnConfig(num_threads=config.num_threads))


def build_scorer(config: DetectorConfig) -> FaceScorer:
    """Loads the scorer and runs it once; blocks for about a second. Raises WeightsRefused."""
    from detector.openvino_scorer import OpenVinoScorer

    return OpenVinoScorer(config)
