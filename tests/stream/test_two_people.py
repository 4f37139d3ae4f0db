"""Two people in one call, who cross and hide each other once: their evidence is never mixed up."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest

from detector.config import DetectorConfig
from detector.face_crop import measure_quality
from detector.face_follower import FaceFollower
from detector.factory import build_finder, build_scorer
from detector.types import FaceScore, ModelInfo
from stream.config import StreamConfig
from stream.frame_analyser import FrameAnalyser, FrameSample
from stream.frame_sampler import Pace, SamplingGrid
from stream.rolling_verdicts import RollingVerdicts
from stream.types import FaceObservation, Observation
from tests.stream.observations import moment
from tests.stream.two_people import FAR, LASTS_S, NEAR, WIDTH_PX, apart_px, centre_px, scene

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from detector.protocols import FaceFinder, FaceScorer
    from detector.types import FaceCrop
    from stream.events import Verdict

# At this distance, neither crop contains the other person or the seam of a cut-out.
CLEAR_PX = 350
# Before the crossing, faces are detected and followed at the same samples as alone, with the same boxes. After it,
# single boxes differ by some pixels and the mean score by little: a face and its swap are seven logits apart.
SAME_LOGIT = 0.02
SAME_MEAN_LOGIT = 0.35


class ByPosition:
    """Scores fake at one person's position at `now_s`, and real elsewhere."""

    def __init__(self, fake: str) -> None:
        self._fake = fake
        self.now_s = 0.0

    @property
    def info(self) -> ModelInfo:
        return ModelInfo("test", "1", "0" * 64)

    def score(self, crops: Sequence[FaceCrop]) -> tuple[FaceScore, ...]:
        return tuple(self._score(crop) for crop in crops)

    def _score(self, crop: FaceCrop) -> FaceScore:
        nearest = min((NEAR, FAR), key=lambda name: abs(crop.box.centre[0] - centre_px(name, self.now_s)))
        llr = 2.0 if nearest == self._fake else -2.0
        prob = 1 / (1 + np.exp(-llr))
        return FaceScore(llr, prob, llr, None, measure_quality(crop), np.zeros((7, 7), np.float32))


class Seen(NamedTuple):
    at_s: float
    faces: tuple[FaceObservation, ...]
    verdicts: tuple[Verdict, ...]


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    return build_finder(DetectorConfig())


def watch(finder: FaceFinder, scorer: FaceScorer, people: Collection[str] = (NEAR, FAR)) -> Iterator[Seen]:
    """Runs the scene as a stream of two samples/s; returns its samples and verdicts."""
    analyser, tracks = FrameAnalyser(finder, scorer, 16), FaceFollower()
    monitor, grid = RollingVerdicts("call", 7, 0.0, StreamConfig()), SamplingGrid(2.0, 0.0)
    for number in range(int(LASTS_S * 2)):
        cell = number * Pace.BASE
        at_s = grid.start_s(cell)
        if isinstance(scorer, ByPosition):
            scorer.now_s = at_s
        rgb = scene(at_s, people)
        (examined,) = analyser.examine([FrameSample(rgb, at_s, tracks)])
        observation = Observation(
            stream="call", epoch=7, sequence=number, cell=cell, frame_number=number, pts_s=at_s, capture_s=1000 + at_s,
            width_px=rgb.shape[1], height_px=rgb.shape[0], faces=examined.faces,
        )
        yield Seen(at_s, examined.faces, monitor.observe(observation, moment(1000 + at_s)))


def person_of(face: FaceObservation, at_s: float) -> str:
    middle_px = (face.box[0] + face.box[2] / 2) * WIDTH_PX
    return min((NEAR, FAR), key=lambda name: abs(middle_px - centre_px(name, at_s)))


@pytest.mark.parametrize("fake", [NEAR, FAR])
def test_only_the_fake_person_raises_an_alarm(finder: FaceFinder, fake: str) -> None:
    tracks: dict[str, set[int]] = defaultdict(set)
    alarmed: set[int] = set()
    hidden = 0
    for seen in watch(finder, ByPosition(fake)):
        hidden += len(seen.faces) == 1
        if apart_px(seen.at_s) > CLEAR_PX:
            assert len(seen.faces) == 2
            for face in seen.faces:
                tracks[person_of(face, seen.at_s)].add(face.track)
        for verdict in seen.verdicts:
            alarmed |= {face.track for face in verdict.faces if face.alarm}
    assert hidden >= 1, "no person hid the other"
    assert {name: len(ids) for name, ids in tracks.items()} == {NEAR: 1, FAR: 1}
    assert tracks[NEAR] != tracks[FAR]
    assert alarmed == tracks[fake]
    assert verdict.alarm
    assert verdict.faces[0].track in tracks[fake]


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_scores_do_not_depend_on_the_other_person(finder: FaceFinder) -> None:
    scorer = build_scorer(DetectorConfig())
    together = logits(watch(finder, scorer))
    for name in (NEAR, FAR):
        alone = logits(watch(finder, scorer, (name,)))
        shared = sorted(key for key in alone.keys() & together.keys() if key[0] == name)
        assert len(shared) > 0.7 * LASTS_S * 2
        gaps = {at_s: together[name, at_s] - alone[name, at_s] for _, at_s in shared}
        assert max(abs(gap) for at_s, gap in gaps.items() if at_s < LASTS_S / 3) < SAME_LOGIT
        assert abs(np.mean(list(gaps.values()))) < SAME_MEAN_LOGIT


def logits(stream: Iterator[Seen]) -> dict[tuple[str, float], float]:
    """Returns logits by person and time, while the two are apart."""
    return {
        (person_of(face, seen.at_s), seen.at_s): face.logit
        for seen in stream if apart_px(seen.at_s) > CLEAR_PX
        for face in seen.faces if face.logit is not None
    }
