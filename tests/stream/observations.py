"""Synthetic observations for tests of rolling verdicts."""

from __future__ import annotations

from stream.cusum import EvidenceModel
from stream.frame_sampler import Pace, SamplingGrid
from stream.rolling_verdicts import ObservationContext
from stream.types import FaceObservation, FrameCounts, ModelRef, Observation, Quality

MODEL = ModelRef(name="test", version="1", sha256="0" * 64)
EVIDENCE = EvidenceModel(mean_real=-1.0, mean_fake=1.0, sd=1.4, correlation_s=0.72)
CLEAR = Quality(face_px=150, sharpness=100, luminance=120, weight=1.0)
TINY = Quality(face_px=30, sharpness=100, luminance=120, weight=0.0)


def face(track: int = 1, llr: float | None = 0.0, quality: Quality = CLEAR) -> FaceObservation:
    prob = None if llr is None else 0.5
    return FaceObservation(
        track=track, box=(0.4, 0.3, 0.2, 0.4), confidence=0.99, quality=quality, prob_fake=prob, llr=llr, logit=llr,
        frequency_score=None if llr is None else 0.25,
    )


def observation(sample: int, faces: tuple[FaceObservation, ...] = (), unscored: str = "") -> Observation:
    """Returns the observation of base sample number `sample` (-1 is the first frame) at 2 samples/s and phase 0.3."""
    cell = sample * Pace.BASE
    pts_s = SamplingGrid(2.0, 0.3).start_s(cell)
    return Observation(
        stream="call", epoch=7, sequence=max(0, sample) * 15, cell=cell, frame_number=max(0, sample) * 15, pts_s=pts_s,
        capture_s=1000.0 + pts_s, width_px=640, height_px=360, faces=faces, unscored=unscored,
    )


def moment(now_s: float = 1000.0) -> ObservationContext:
    return ObservationContext(now_s, FrameCounts(received=10, decoded=10, sampled=2, scored=2), MODEL, EVIDENCE)
