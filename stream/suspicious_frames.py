"""Suspicious frames of a call: a small, bounded set of samples with pictures. No I/O.

Only samples that support an alarm have pictures (`stream.preview_pictures`), so a call without suspicion stores none.
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
    """Suspicious samples of one call, spread over time.

    Overflow policy: drops the picture whose neighbours are closest to each other in time. The first, the newest and the
    most suspicious always stay. The last `KEPT` dropped ones can still be found, because a client may just have
    received a link to one.
    """

    def __init__(self) -> None:
        self._pictured: list[Observation] = []
        self._left: deque[Observation] = deque(maxlen=KEPT)

    @property
    def pictured(self) -> tuple[Observation, ...]:
        """Samples with pictures, in order of time."""
        return tuple(self._pictured)

    def add(self, observation: Observation) -> None:
        """Adds the next sample. Ignores one without pictures."""
        if observation.pictures is None:
            return
        self._pictured.append(_without_network_inputs(observation, observation.pictures))
        if len(self._pictured) > KEPT:
            self._left.append(self._pictured.pop(self._most_redundant()))

    def find(self, sequence: int) -> Observation | None:
        """Returns the sample with this sequence number, even if it was dropped recently; None if unknown."""
        return next((seen for seen in (*self._pictured, *self._left) if seen.sequence == sequence), None)

    def _most_redundant(self) -> int:
        seen = self._pictured
        worst = max(range(len(seen)), key=lambda n: _suspicion(seen[n]))
        between = (n for n in range(1, len(seen) - 1) if n != worst)
        return min(between, key=lambda n: (seen[n + 1].pts_s - seen[n - 1].pts_s, _suspicion(seen[n])))


def _without_network_inputs(observation: Observation, pictures: Pictures) -> Observation:
    """Removes the network's input pictures. The frame, heat maps and spectra are small enough to keep."""
    faces = tuple(msgspec.structs.replace(face, png=None) for face in pictures.faces)
    kept = Pictures(jpeg=pictures.jpeg, faces=faces)
    return msgspec.structs.replace(observation, preview_jpeg=None, pictures=kept)


def _suspicion(observation: Observation) -> float:
    return max((face.llr for face in observation.faces if face.llr is not None), default=float("-inf"))
