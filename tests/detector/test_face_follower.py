"""Face follower: when full detection runs and when faces are followed, with a fake finder and with MTCNN."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from detector import geometry
from detector.config import DetectorConfig
from detector.face_follower import MAX_STEP_S, FaceFollower
from detector.factory import build_finder
from detector.types import DetectedFace, FaceBox

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

FRAME = np.zeros((240, 320, 3), np.uint8)
PORTRAIT = Path(__file__).parent.parent / "media" / "obama.jpg"


def a_face(left: float, top: float = 60.0, side_px: float = 80.0) -> DetectedFace:
    return DetectedFace(FaceBox(left, top, left + side_px, top + side_px), 0.99, np.zeros((5, 2), np.float32))


@dataclass
class FakeFinder:
    """Fake finder: finds `faces`, follows those that overlap a given box, and records its calls."""

    faces: list[DetectedFace] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)

    def find(self, rgb: NDArray[np.uint8]) -> tuple[DetectedFace, ...]:
        self.calls.append("find")
        return tuple(self.faces)

    def follow(self, rgb: NDArray[np.uint8], boxes: Sequence[FaceBox]) -> tuple[DetectedFace | None, ...]:
        self.calls.append("follow")
        return tuple(max((face for face in self.faces if geometry.iou(face.box, box) > 0), default=None,
                         key=lambda face: geometry.iou(face.box, box)) for box in boxes)


def run(tracks: FaceFollower, finder: FakeFinder, times: Sequence[float]) -> list[tuple[int, ...]]:
    return [tuple(track for track, _ in tracks.find(finder, FRAME, at_s, 16)) for at_s in times]


def test_detection_runs_in_every_third_sample_and_following_in_between() -> None:
    finder = FakeFinder([a_face(50)])
    assert run(FaceFollower(), finder, [0.5 * n for n in range(6)]) == [(0,)] * 6
    assert finder.calls == ["find", "follow", "follow"] * 2


def test_without_a_face_detection_runs_in_every_sample() -> None:
    finder = FakeFinder()
    run(FaceFollower(), finder, [0.0, 0.5, 1.0])
    assert finder.calls == ["find"] * 3


@pytest.mark.parametrize("step_s", [MAX_STEP_S + 0.1, 0.0, -5.0])
def test_detection_runs_after_a_gap_or_a_jump(step_s: float) -> None:
    finder = FakeFinder([a_face(50)])
    run(FaceFollower(), finder, [10.0, 10.0 + step_s])
    assert finder.calls == ["find"] * 2


def test_detection_runs_at_once_for_a_lost_or_drifted_face() -> None:
    for there in ([], [a_face(104)]):
        finder, tracks = FakeFinder([a_face(50)]), FaceFollower()
        run(tracks, finder, [0.0])
        finder.faces = there
        run(tracks, finder, [0.5])
        assert finder.calls == ["find", "follow", "find"]


def test_two_tracks_never_follow_the_same_face() -> None:
    finder, tracks = FakeFinder([a_face(20), a_face(150)]), FaceFollower()
    assert run(tracks, finder, [0.0]) == [(0, 1)]
    finder.faces = [a_face(20), a_face(148)]
    assert sorted(run(tracks, finder, [0.5])[0]) == [0, 1]
    finder.faces = [a_face(85)]
    run(tracks, finder, [1.0])
    assert finder.calls == ["find", "follow", "follow", "find"]


def test_detection_runs_where_two_tracks_meet_in_one_face() -> None:
    finder, tracks = FakeFinder([a_face(60), a_face(90)]), FaceFollower()
    assert run(tracks, finder, [0.0]) == [(0, 1)]
    finder.faces = [a_face(75)]
    assert [len(ids) for ids in run(tracks, finder, [0.5])] == [1]
    assert finder.calls == ["find", "follow", "find"]


def test_detection_runs_in_every_sample_while_a_face_is_missing() -> None:
    finder, tracks = FakeFinder([a_face(20), a_face(150)]), FaceFollower()
    run(tracks, finder, [0.0])
    finder.faces = [a_face(20)]
    run(tracks, finder, [0.5, 1.0, 1.5])
    assert finder.calls == ["find", "follow", "find", "find", "find"]
    finder.faces = [a_face(20), a_face(150)]
    assert sorted(run(tracks, finder, [2.0])[0]) == [0, 1]


def test_a_followed_box_matches_the_detected_box() -> None:
    """On a swaying portrait the followed box has an IoU above .8 with the detected box, and the track id stays."""
    finder, tracks = build_finder(DetectorConfig()), FaceFollower()
    portrait = cv2.cvtColor(cv2.imread(str(PORTRAIT)), cv2.COLOR_BGR2RGB)[:700]
    small = cv2.resize(portrait, None, fx=360 / 700, fy=360 / 700, interpolation=cv2.INTER_AREA)
    for number in range(6):
        shift = np.array([[1, 0, 12 * np.sin(number)], [0, 1, 5 * np.cos(2 * number)]])
        rgb = cv2.warpAffine(small, shift, small.shape[1::-1]).astype(np.uint8)
        ((track, face),) = tracks.find(finder, rgb, number * 0.5, 16)
        assert track == 0
        assert geometry.iou(face.box, finder.find(rgb)[0].box) > 0.8
