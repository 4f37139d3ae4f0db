"""Suspicious samples of a whole call as pictures, few enough to keep in memory. Pure.

Only what speaks for an alarm is ever pictured (`stream.preview_pictures`): of a call without suspicion nothing is
kept here.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import msgspec

from stream.types import Pictures

if TYPE_CHECKING:
    from stream.types import Observation

KEPT = 16


class SuspiciousFrames:
    """Overflow policy: the picture whose neighbours are closest to each other in time leaves, so that they stay spread
    over the call. The first, the newest and the most suspicious of all stay. What left is found for a while (as many
    again), because somebody may just have been told of it."""

    def __init__(self) -> None:
        self._pictured: list[Observation] = []
        self._left: deque[Observation] = deque(maxlen=KEPT)

    @property
    def pictured(self) -> tuple[Observation, ...]:
        """In the order of time."""
        return tuple(self._pictured)

    def add(self, observation: Observation) -> None:
        """Takes in the next sample that was pictured; one without pictures changes nothing."""
        if observation.pictures is None:
            return
        self._pictured.append(_light(observation, observation.pictures))
        if len(self._pictured) > KEPT:
            self._left.append(self._pictured.pop(self._least_missed()))

    def find(self, sequence: int) -> Observation | None:
        """The picture of this sample, also if it left lately."""
        return next((seen for seen in (*self._pictured, *self._left) if seen.sequence == sequence), None)

    def _least_missed(self) -> int:
        seen = self._pictured
        worst = max(range(len(seen)), key=lambda n: _suspicion(seen[n]))
        between = (n for n in range(1, len(seen) - 1) if n != worst)
        return min(between, key=lambda n: (seen[n + 1].pts_s - seen[n - 1].pts_s, _suspicion(seen[n])))


def _light(observation: Observation, pictures: Pictures) -> Observation:
    """Without what the model saw: the frame is there, and the maps and spectra are small."""
    faces = tuple(msgspec.structs.replace(face, png=None) for face in pictures.faces)
    kept = Pictures(jpeg=pictures.jpeg, faces=faces)
    return msgspec.structs.replace(observation, preview_jpeg=None, pictures=kept)


def _suspicion(observation: Observation) -> float:
    return max((face.llr for face in observation.faces if face.llr is not None), default=float("-inf"))
