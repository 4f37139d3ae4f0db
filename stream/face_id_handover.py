"""Face id handover: keeps the track ids of faces when another process takes a stream over.

A new process assigns new track ids. It processes the last window again, so it recognises each face by its position.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from detector.geometry import iou
from detector.types import FaceBox

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stream.events import Verdict
    from stream.frame_sampler import SamplingGrid
    from stream.types import Observation

_SAME_IOU = 0.3


class HandoverBuffer:
    """Renumbers the observations of a process that continues after `verdict`.

    Observations of the verdict's window are processed again and held back until all of them have arrived.
    """

    def __init__(self, verdict: Verdict, grid: SamplingGrid) -> None:
        self._identities = FaceIdHandover(verdict)
        self._until_s = verdict.end_s
        self._grid = grid
        self._window: list[Observation] | None = []

    def take(self, observation: Observation) -> tuple[Observation, ...]:
        """Returns the observations that can be processed now, in order."""
        if self._window is not None and self._grid.start_s(observation.cell) < self._until_s:
            self._window.append(observation)
            return ()
        return (*self.release(), self._identities.renumbered(observation))

    def release(self) -> tuple[Observation, ...]:
        """Returns the observations held back, and holds none back from then on."""
        window, self._window = self._window or (), None
        self._identities.recognise(window)
        return tuple(self._identities.renumbered(seen) for seen in window)


class FaceIdHandover:
    """Maps new track ids to those in `verdict`. New faces get ids above all of them."""

    def __init__(self, verdict: Verdict) -> None:
        self._boxes = {face.track: _box(face.box) for face in verdict.faces}
        remembered = [sums.track for sums in verdict.decision.tracks] if verdict.decision is not None else []
        self._next = max([*self._boxes, *remembered], default=-1) + 1
        self._numbers: dict[int, int] = {}

    def recognise(self, window: Iterable[Observation]) -> None:
        """Gives the faces in the verdict's window the ids that they have in the verdict."""
        seen = {face.track: _box(face.box) for observation in window for face in observation.faces}
        pairs = sorted(
            ((iou(box, known), track, number) for track, box in seen.items() for number, known in self._boxes.items()),
            reverse=True,
        )
        taken: set[int] = set()
        for overlap, track, number in pairs:
            if overlap >= _SAME_IOU and track not in self._numbers and number not in taken:
                self._numbers[track] = number
                taken.add(number)

    def renumbered(self, observation: Observation) -> Observation:
        """Returns the observation with the track ids of this stream."""
        faces = tuple(msgspec.structs.replace(face, track=self._number(face.track)) for face in observation.faces)
        return msgspec.structs.replace(observation, faces=faces)

    def _number(self, track: int) -> int:
        if track not in self._numbers:
            self._numbers[track] = self._next
            self._next += 1
        return self._numbers[track]


def _box(shares: tuple[float, float, float, float]) -> FaceBox:
    left, top, width, height = shares
    return FaceBox(left, top, left + width, top + height)
