"""Frame analyser: finds, tracks and scores faces on sampled frames, of live streams and files."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from detector.errors import FaceNotCroppable
from detector.face_crop import crop_face, measure_quality
from stream.types import FaceObservation, Quality

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from detector.face_follower import FaceFollower
    from detector.protocols import FaceFinder, FaceScorer
    from detector.types import DetectedFace, FaceCrop, FaceQuality, FaceScore

NO_MODEL, SCORER_FAILED = "no_model", "scorer_failed"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class FrameSample:
    """One frame to examine: `rgb` is uint8 (h, w, 3); `name` identifies its stream or job."""

    rgb: NDArray[np.uint8]
    pts_s: float
    tracks: FaceFollower
    name: str = ""


@dataclass(frozen=True, slots=True)
class ExaminedFrame:
    """Result of one sample; `unscored` as in Observation. `crops` holds the scored crops by track."""

    faces: tuple[FaceObservation, ...]
    unscored: str = ""
    crops: Mapping[int, FaceCrop] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    track: int
    face: DetectedFace
    crop: FaceCrop | None


class FrameAnalyser:
    """Face finder and scorer together. Blocks for milliseconds per frame; raises nothing; not thread-safe.

    Calls `on_frame` with each sample's name before it searches for faces, and with "" after the last sample.
    """

    def __init__(self, finder: FaceFinder | None, scorer: FaceScorer | None, max_faces: int) -> None:
        self._finder = finder
        self._scorer = scorer
        self._max_faces = max_faces
        self.on_frame: Callable[[str], None] = _ignore

    def examine(self, samples: Sequence[FrameSample]) -> tuple[ExaminedFrame, ...]:
        """Returns one result per sample, in order. All faces are scored as one batch."""
        found = [self._find(sample) for sample in samples]
        self.on_frame("")
        crops = [item.crop for faces in found for item in faces or () if item.crop is not None]
        scores = iter(self._score(crops))
        return tuple(self._report(sample, faces, scores) for sample, faces in zip(samples, found, strict=True))

    @property
    def suspicious_llr(self) -> float:
        """The log-likelihood ratio above which a sample supports an alarm, in nats."""
        stats = self._scorer.info.evidence if self._scorer is not None else None
        return (stats.mean_real + stats.mean_fake) / 2 if stats is not None else 0.0

    def warm_up(self) -> None:
        """Runs the finder once, so that the first frame of the first stream is not delayed."""
        if self._finder is not None:
            self._finder.find(np.zeros((360, 640, 3), np.uint8))

    def _find(self, sample: FrameSample) -> list[_Found] | None:
        """Returns the faces on one frame; None if the finder failed."""
        self.on_frame(sample.name)
        if self._finder is None:
            return []
        try:
            faces = sample.tracks.find(self._finder, sample.rgb, sample.pts_s, self._max_faces)
            return [_Found(track, face, _crop(sample.rgb, face)) for track, face in faces]
        except Exception:       # noqa: BLE001  outermost frame of a sample: one odd frame must not end the worker
            _log.exception("face finder failed")
            return None

    def _score(self, crops: Sequence[FaceCrop]) -> list[FaceScore | None]:
        if self._scorer is None or not crops:
            return [None] * len(crops)
        try:
            return list(self._scorer.score(crops))
        except Exception:       # noqa: BLE001  outermost frame of a batch
            _log.exception("scorer failed", extra={"crops": len(crops)})
        if len(crops) == 1:
            return [None]
        return [score for crop in crops for score in self._score([crop])]

    def _report(
        self, sample: FrameSample, found: list[_Found] | None, scores: Iterator[FaceScore | None]
    ) -> ExaminedFrame:
        height_px, width_px = sample.rgb.shape[:2]
        faces, crops = [], {}
        failed = found is None
        for item in found or ():
            score = next(scores) if item.crop is not None else None
            failed = failed or (score is None and item.crop is not None)
            faces.append(_observe(item, item.face.box.relative(width_px, height_px), score))
            if item.crop is not None and score is not None:
                crops[item.track] = item.crop
        if self._scorer is None or self._finder is None:
            return ExaminedFrame(tuple(faces), NO_MODEL)
        return ExaminedFrame(tuple(faces), SCORER_FAILED if failed else "", crops)


def _ignore(name: str) -> None:
    pass


def _crop(rgb: NDArray[np.uint8], face: DetectedFace) -> FaceCrop | None:
    try:
        return crop_face(rgb, face)
    except FaceNotCroppable:
        return None


def _observe(
    found: _Found, box: tuple[float, float, float, float], score: FaceScore | None
) -> FaceObservation:
    if found.crop is None:
        quality = Quality(face_px=0.0, sharpness=0.0, luminance=0.0, weight=0.0)
        return FaceObservation(track=found.track, box=box, confidence=found.face.confidence, quality=quality)
    if score is None:
        quality = _quality(measure_quality(found.crop))
        return FaceObservation(track=found.track, box=box, confidence=found.face.confidence, quality=quality)
    return FaceObservation(
        track=found.track,
        box=box,
        confidence=found.face.confidence,
        quality=_quality(score.quality),
        prob_fake=score.prob_fake,
        llr=score.llr,
        logit=score.logit,
        frequency_score=score.frequency_score,
        heat_map=np.rint(np.clip(score.heat_map, 0, 1) * 255).astype(np.uint8).tobytes(),
    )


def _quality(quality: FaceQuality) -> Quality:
    return Quality(
        face_px=quality.face_px, sharpness=quality.sharpness, luminance=quality.luminance, weight=quality.weight
    )

