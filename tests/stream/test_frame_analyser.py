"""Frame analyser, with a finder and scorers that fail on purpose."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from detector.errors import FinderFailed, ScorerFailed
from detector.face_follower import FaceFollower
from detector.types import DetectedFace, FaceBox, FaceScore, ModelInfo
from stream.frame_analyser import FrameAnalyser, FrameSample
from stream.heat_map_picture import heat_picture_png
from tests.synthetic import pattern

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from detector.types import FaceCrop

BOX = FaceBox(100, 60, 220, 200)


class OneFace:
    """Finds the same face on every frame, none on dark ones, and fails on bright ones."""

    def find(self, rgb: NDArray[np.uint8]) -> tuple[DetectedFace, ...]:
        if rgb.mean() > 250:
            raise FinderFailed("too bright")
        if rgb.mean() < 5:
            return ()
        scale = rgb.shape[1] / 320
        return (DetectedFace(BOX.scaled(scale), 0.99, np.zeros((5, 2), np.float32)),)

    def follow(self, rgb: NDArray[np.uint8], places: Sequence[FaceBox]) -> tuple[DetectedFace | None, ...]:
        return tuple(next(iter(self.find(rgb)), None) for _ in places)


class Scorer:
    """Scores 2.0, but refuses every batch that contains a crop of one chosen brightness."""

    def __init__(self, error: type[Exception] = ScorerFailed) -> None:
        self._error = error
        self.batches: list[int] = []

    @property
    def info(self) -> ModelInfo:
        return ModelInfo("test", "1", "0" * 64)

    def score(self, crops: Sequence[FaceCrop]) -> tuple[FaceScore, ...]:
        self.batches.append(len(crops))
        if any(crop.rgb.mean() == 77 for crop in crops):
            raise self._error("poison")
        return tuple(_score(crop) for crop in crops)


def _score(crop: FaceCrop) -> FaceScore:
    from detector.face_crop import measure_quality

    heat_map = np.zeros((7, 7), np.float32)
    heat_map[3, 3] = 1.0
    return FaceScore(
        logit=2.0, prob_fake=0.88, llr=2.0, frequency_score=0.5, quality=measure_quality(crop), heat_map=heat_map
    )


def sample(level: int | None = None, width: int = 320) -> FrameSample:
    height = width * 3 // 4
    rgb = pattern(1, width, height) if level is None else np.full((height, width, 3), level, np.uint8)
    return FrameSample(rgb, 0.0, FaceFollower())


def test_all_faces_of_all_samples_are_one_batch() -> None:
    scorer = Scorer()
    results = FrameAnalyser(OneFace(), scorer, 16).examine([sample(), sample(0), sample(100)])
    assert scorer.batches == [2]
    assert [len(result.faces) for result in results] == [1, 0, 1]
    assert all(result.unscored == "" for result in results)
    (face,) = results[0].faces
    assert (face.prob_fake, face.llr, face.logit, face.frequency_score) == (0.88, 2.0, 2.0, 0.5)
    assert face.heat_map is not None
    assert face.heat_map[24] == 255
    assert sum(face.heat_map) == 255
    assert face.box == pytest.approx((100 / 320, 60 / 240, 120 / 320, 140 / 240))


@pytest.mark.parametrize("error", [ScorerFailed, ValueError, MemoryError])
def test_only_the_sample_that_the_scorer_fails_on_goes_unscored(error: type[Exception]) -> None:
    results = FrameAnalyser(OneFace(), Scorer(error), 16).examine([sample(), sample(77), sample(100)])
    assert [result.unscored for result in results] == ["", "scorer_failed", ""]
    (face,) = results[1].faces
    assert face.prob_fake is None
    assert face.llr is None
    assert face.quality.face_px == 120


def test_a_finder_failure_is_not_reported_as_no_face() -> None:
    results = FrameAnalyser(OneFace(), Scorer(), 16).examine([sample(255), sample()])
    assert results[0].unscored == "scorer_failed"
    assert results[1].unscored == ""


def test_without_a_scorer_faces_are_still_found() -> None:
    (result,) = FrameAnalyser(OneFace(), None, 16).examine([sample()])
    assert result.unscored == "no_model"
    assert result.faces[0].prob_fake is None
    assert result.faces[0].quality.weight == 1.0


def test_without_a_finder_frames_stay_unscored() -> None:
    (result,) = FrameAnalyser(None, Scorer(), 16).examine([sample()])
    assert (result.faces, result.unscored) == ((), "no_model")


def test_on_frame_is_called_before_each_frame_is_analysed() -> None:
    analyser = FrameAnalyser(OneFace(), Scorer(), 16)
    names: list[str] = []
    analyser.on_frame = names.append
    analyser.examine([FrameSample(sample().rgb, 0.0, FaceFollower(), name) for name in ("a", "b")])
    assert names == ["a", "b", ""]


def test_tracks_continue_when_the_size_changes() -> None:
    tracks = FaceFollower(first_track=7)
    analyser = FrameAnalyser(OneFace(), None, 16)
    found = [
        analyser.examine([FrameSample(sample(width=width).rgb, number * 0.5, tracks)])[0].faces[0].track
        for number, width in enumerate((320, 160, 640, 320))
    ]
    assert found == [7, 7, 7, 7]


@pytest.mark.parametrize("width", [320, 3200])
def test_the_heat_map_covers_the_face_only(width: int) -> None:
    given = sample(100, width)
    (result,) = FrameAnalyser(OneFace(), Scorer(), 16).examine([given])
    png = heat_picture_png(given.rgb, result.faces)
    assert png is not None
    bgr = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert max(bgr.shape) == min(1024, width)
    changed = np.abs(bgr.astype(int) - 100).max(axis=2) > 8
    rows, columns = np.nonzero(changed)
    scale = bgr.shape[1] / 320
    assert len(rows)
    assert 160 * scale == pytest.approx(columns.mean(), abs=4 * scale)
    assert 130 * scale == pytest.approx(rows.mean(), abs=4 * scale)
    assert changed.mean() < 0.2


def test_there_is_no_heat_map_without_a_score() -> None:
    given = sample()
    (result,) = FrameAnalyser(OneFace(), None, 16).examine([given])
    assert heat_picture_png(given.rgb, result.faces) is None
