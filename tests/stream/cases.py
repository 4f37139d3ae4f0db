"""Incident cases built from synthetic observations, as a session builds them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import msgspec
import numpy as np

from stream.config import StreamConfig
from stream.evidence_buffer import AlarmWatch
from stream.frame_sampler import phase_of
from stream.incident_case import AlarmOver, IncidentCase, Origin
from stream.rolling_verdicts import RollingVerdicts
from stream.types import FacePicture, Pictures
from tests.stream.observations import EVIDENCE, MODEL, face, moment, observation

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stream.events import Verdict
    from stream.types import FaceObservation, ModelRef, Observation

EPOCH = 7


class Watched:
    """A stream with rolling verdicts and an alarm watch. Collects its alarm `changes` and all `verdicts`."""

    def __init__(self, stream: str = "call", epoch: int = EPOCH, model: ModelRef = MODEL) -> None:
        config = StreamConfig()
        origin = Origin(stream=stream, epoch=epoch, source="test", call_id="a-call", participant_id="somebody")
        self.stream, self.epoch = stream, epoch
        self.moment = moment()._replace(model=model)
        self.monitor = RollingVerdicts(stream, epoch, phase_of(stream, epoch), config)
        self.watch = AlarmWatch(origin, config)
        self.verdicts: list[Verdict] = []
        self.changes: list[IncidentCase | AlarmOver] = []

    def see(self, number: int, *faces: FaceObservation, pictured: bool = False) -> None:
        """Observes these faces at base sample `number`."""
        seen = msgspec.structs.replace(observation(number, faces), stream=self.stream, epoch=self.epoch)
        if pictured:
            seen = msgspec.structs.replace(seen, pictures=pictures_of(seen))
        self.watch.observe(seen)
        self.take(self.monitor.observe(seen, self.moment))

    def take(self, verdicts: Iterable[Verdict]) -> None:
        for verdict in verdicts:
            change = self.watch.follow(verdict, 1000.0 + verdict.end_s, EVIDENCE)
            if change is not None:
                self.changes.append(change)
            self.verdicts.append(verdict)


def pictures_of(seen: Observation) -> Pictures:
    """Returns noise in place of face pictures, different for every sample."""
    noise = np.random.default_rng(seen.sequence)
    faces = tuple(
        FacePicture(
            track=one.track,
            png=bytes(cv2.imencode(".png", noise.integers(0, 256, (224, 224, 3), dtype=np.uint8))[1]),
            spectrum=tuple(float(n) for n in range(32)),
        )
        for one in seen.faces
    )
    frame = noise.integers(0, 256, (90, 160, 3), dtype=np.uint8)
    return Pictures(jpeg=bytes(cv2.imencode(".jpg", frame)[1]), faces=faces)


def suspect(llr: float = 3.0, track: int = 1) -> FaceObservation:
    return msgspec.structs.replace(face(track, llr), heat_map=bytes(range(49)))


def opened_case(stream: str = "call", epoch: int = EPOCH, calm: int = 4) -> IncidentCase:
    """Returns an alarm after `calm` samples without evidence; every fourth sample has a picture."""
    watched = Watched(stream, epoch)
    for number in range(-1, calm):
        watched.see(number, face(llr=-1.0))
    for number in range(calm, calm + 40):
        watched.see(number, suspect(), pictured=number % 4 == 0)
        if watched.changes:
            break
    (case,) = watched.changes
    assert isinstance(case, IncidentCase)
    return case


def over(case: IncidentCase) -> AlarmOver:
    """Returns the close of this alarm."""
    return AlarmOver(
        stream=case.origin.stream, epoch=case.origin.epoch, reason=_REASON, closed_s=case.opened_s + 9, end_s=99.0
    )


def _closing() -> AlarmOver:
    watched = Watched()
    for number in range(-1, 60):
        watched.see(number, suspect() if number < 20 else face(llr=-4.0))
    change = watched.changes[-1]
    assert isinstance(change, AlarmOver)
    return change


_REASON = _closing().reason
