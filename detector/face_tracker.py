"""Which face of this frame is which face of the frames before: by place, size and motion, never by appearance. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from detector import geometry
from detector.types import FaceBox

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from detector.types import DetectedFace

    Floats = NDArray[np.float64]

# Stands for "these two cannot be the same face"; larger than any sum of real costs.
FORBIDDEN = 1e6


@dataclass(frozen=True, slots=True)
class TrackerConfig:
    """Distances are in face sizes, so that a near face may move as far as it looks.

    `expire_s`: media time without being seen after which a track ends.
    `reach`, `reach_per_s`, `max_reach`: how far from its foreseen place a face may turn up: at once, more per second
    unseen, and at most (beyond, it is more likely another person).
    `max_growth`: by which factor a face's size may change between two sightings.
    `motion_memory_s`: how fast old motion is forgotten; also how long motion is believed to go on unseen.
    """

    expire_s: float = 2.0
    max_tracks: int = 64
    reach: float = 0.7
    reach_per_s: float = 1.5
    max_reach: float = 1.8
    max_growth: float = 2.0
    motion_memory_s: float = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class TrackedFace:
    """A face and the track it belongs to. `face` is the very object that was passed in."""

    track: int
    face: DetectedFace


@dataclass(slots=True)
class _Track:
    track: int
    box: Floats
    seen_s: float
    velocity: Floats

    def foreseen(self, now_s: float, memory_s: float) -> Floats:
        """The box at `now_s`: constant velocity that fades out over `memory_s`."""
        fading_s = memory_s * -math.expm1(-(now_s - self.seen_s) / memory_s)
        return self.box + np.tile(self.velocity * fading_s, 2)

    def see(self, box: Floats, now_s: float, memory_s: float) -> None:
        elapsed_s = now_s - self.seen_s
        if elapsed_s > 0:
            moved = (_centre(box) - _centre(self.box)) / elapsed_s
            self.velocity = self.velocity + (moved - self.velocity) * -math.expm1(-elapsed_s / memory_s)
        self.box, self.seen_s = box, now_s


def preload() -> None:
    """Imports what the first match needs, for those who have time now and not then."""
    import scipy.optimize  # noqa: F401


class FaceTracker:
    """The tracks of one stream. Ids count up from 0 and are never used twice; holds at most `max_tracks` tracks."""

    def __init__(self, config: TrackerConfig | None = None) -> None:
        self._config = config or TrackerConfig()
        self._tracks: list[_Track] = []
        self._next_track = 0
        self._now_s = -math.inf

    def update(self, pts_s: float, faces: Sequence[DetectedFace]) -> tuple[TrackedFace, ...]:
        """The faces of the frame at `pts_s` with their tracks, in the order given; ids are unique per call.

        The order of `faces` has no influence on who gets which id. Of more than `max_tracks` faces, only the largest
        are followed and returned. A frame that is a little late counts as simultaneous with the latest one; a jump
        back beyond `expire_s` starts anew, with new ids, as does a jump ahead.
        """
        self._advance(pts_s)
        rows = geometry.box_array(face.box for face in faces)
        order = _canonical_order(faces, rows)[: self._config.max_tracks]
        owners = self._match(rows[order])
        self._make_room({owner.track for owner in owners if owner is not None}, len(order))
        ids: dict[int, int] = {}
        for row, owner in zip(order, owners, strict=True):
            ids[row] = self._sight(rows[row], owner)
        return tuple(TrackedFace(ids[row], face) for row, face in enumerate(faces) if row in ids)

    def foreseen(self, pts_s: float) -> tuple[FaceBox, ...]:
        """Where the faces of the latest frame should be at `pts_s`; empty where one that is followed was not on it."""
        if any(track.seen_s < self._now_s for track in self._tracks):
            return ()
        boxes = (track.foreseen(pts_s, self._config.motion_memory_s) for track in self._tracks)
        return tuple(FaceBox(*map(float, box)) for box in boxes)

    def _advance(self, pts_s: float) -> None:
        if not math.isfinite(pts_s):
            return
        if pts_s < self._now_s - self._config.expire_s:
            self._tracks.clear()
            self._now_s = pts_s
        self._now_s = max(self._now_s, pts_s)
        self._tracks = [track for track in self._tracks if self._now_s - track.seen_s <= self._config.expire_s]

    def _match(self, boxes: Floats) -> list[_Track | None]:
        """The track of each box, or None: as many matches as possible, then the least total cost."""
        owners: list[_Track | None] = [None] * len(boxes)
        if not len(boxes) or not self._tracks:
            return owners
        from scipy.optimize import linear_sum_assignment  # a third of a worker's start: see preload

        costs = self._costs(boxes)
        for row, column in zip(*linear_sum_assignment(costs), strict=True):
            if costs[row, column] < FORBIDDEN:
                owners[row] = self._tracks[column]
        return owners

    def _costs(self, boxes: Floats) -> Floats:
        """(boxes, tracks): distance in face sizes, lack of overlap and change of size, from the foreseen places."""
        config = self._config
        foreseen = np.array([track.foreseen(self._now_s, config.motion_memory_s) for track in self._tracks])
        unseen_s = np.array([self._now_s - track.seen_s for track in self._tracks])
        sizes, old_sizes = _size_px(boxes), _size_px(foreseen)
        apart_px = np.linalg.norm(_centre(boxes)[:, None] - _centre(foreseen)[None], axis=2)
        distance = apart_px / np.maximum(sizes[:, None], old_sizes[None])
        growth = np.abs(np.log(sizes[:, None] / old_sizes[None]))
        overlap = geometry.pairwise_iou(boxes, foreseen)
        near = distance <= np.minimum(config.reach + config.reach_per_s * unseen_s, config.max_reach)
        possible = near & (growth <= math.log(config.max_growth))
        costs: Floats = np.where(possible, distance + growth + 1 - overlap, FORBIDDEN)
        return costs

    def _make_room(self, in_sight: Collection[int], faces: int) -> None:
        """Ends the tracks that were unseen longest where new ones would exceed the bound."""
        unseen = [track for track in self._tracks if track.track not in in_sight]
        surplus = len(unseen) + faces - self._config.max_tracks
        if surplus > 0:
            unseen.sort(key=lambda track: (track.seen_s, track.track))
            ended = {track.track for track in unseen[:surplus]}
            self._tracks = [track for track in self._tracks if track.track not in ended]

    def _sight(self, box: Floats, owner: _Track | None) -> int:
        if owner is not None:
            owner.see(box, self._now_s, self._config.motion_memory_s)
            return owner.track
        track = _Track(self._next_track, box, self._now_s, np.zeros(2))
        self._next_track += 1
        self._tracks.append(track)
        return track.track


def _centre(boxes: Floats) -> Floats:
    """(..., 4) -> (..., 2)."""
    centre: Floats = (boxes[..., :2] + boxes[..., 2:]) / 2
    return centre


def _size_px(boxes: Floats) -> Floats:
    """(..., 4) -> (...): the geometric mean of the sides, at least 1."""
    sides = np.maximum(boxes[..., 2:] - boxes[..., :2], 1.0)
    size: Floats = np.sqrt(sides[..., 0] * sides[..., 1])
    return size


def _canonical_order(faces: Sequence[DetectedFace], rows: Floats) -> list[int]:
    """Largest first, then by place and confidence: the same for every order of the same faces."""
    return sorted(range(len(faces)), key=lambda row: (-_size_px(rows[row]), *rows[row], faces[row].confidence))
