"""Face tracker: assigns track ids to faces by position, size and motion, never by appearance. Pure."""

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

# Cost of an impossible assignment; larger than any sum of possible costs.
FORBIDDEN = 1e6


@dataclass(frozen=True, slots=True)
class TrackerConfig:
    """Limits of the tracker. Distances are in face sizes (geometric mean of the sides).

    `expire_s`: media time in seconds after which an unseen track ends.
    `reach`, `reach_per_s`, `max_reach`: largest distance of a face from its predicted box: for a track just seen, more
    per second unseen, and at most. A face farther away is more likely another person.
    `max_growth`: largest factor by which a face's size may change between two sightings.
    `motion_memory_s`: time constant of the velocity estimate, and of the fading of predicted motion.
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
    """A face and its track id. `face` is the object that was passed in."""

    track: int
    face: DetectedFace


@dataclass(slots=True)
class _Track:
    track: int
    box: Floats
    seen_s: float
    velocity: Floats

    def predicted_box(self, now_s: float, memory_s: float) -> Floats:
        """Returns the predicted box (4,) at `now_s`: constant velocity that fades out over `memory_s`."""
        fading_s = memory_s * -math.expm1(-(now_s - self.seen_s) / memory_s)
        return self.box + np.tile(self.velocity * fading_s, 2)

    def update(self, box: Floats, now_s: float, memory_s: float) -> None:
        """Sets the box seen at `now_s` and updates the velocity."""
        elapsed_s = now_s - self.seen_s
        if elapsed_s > 0:
            moved = (_centre(box) - _centre(self.box)) / elapsed_s
            self.velocity = self.velocity + (moved - self.velocity) * -math.expm1(-elapsed_s / memory_s)
        self.box, self.seen_s = box, now_s


def preload() -> None:
    """Imports SciPy ahead of the first assignment, so that no frame waits for it: a third of a worker's start."""
    import scipy.optimize  # noqa: F401


class FaceTracker:
    """The face tracks of one stream, at most `max_tracks`. Ids count up from 0 and are never reused."""

    def __init__(self, config: TrackerConfig | None = None) -> None:
        self._config = config or TrackerConfig()
        self._tracks: list[_Track] = []
        self._next_track = 0
        self._now_s = -math.inf

    def update(self, pts_s: float, faces: Sequence[DetectedFace]) -> tuple[TrackedFace, ...]:
        """Assigns track ids to the faces of the frame at `pts_s` (seconds) and returns them in the order given.

        Ids are unique per call and do not depend on the order of `faces`. Of more than `max_tracks` faces only the
        largest are tracked and returned. A frame earlier than the latest one by up to `expire_s` counts as
        simultaneous with it. A longer jump back, or ahead, ends all tracks.
        """
        self._advance(pts_s)
        rows = geometry.box_array(face.box for face in faces)
        order = _canonical_order(faces, rows)[: self._config.max_tracks]
        owners = self._match(rows[order])
        self._end_surplus({owner.track for owner in owners if owner is not None}, len(order))
        ids: dict[int, int] = {}
        for row, owner in zip(order, owners, strict=True):
            ids[row] = self._assign(rows[row], owner)
        return tuple(TrackedFace(ids[row], face) for row, face in enumerate(faces) if row in ids)

    def predicted_boxes(self, pts_s: float) -> tuple[FaceBox, ...]:
        """Returns the predicted box of every track at `pts_s`; empty where a track was not seen in the latest frame."""
        if any(track.seen_s < self._now_s for track in self._tracks):
            return ()
        boxes = (track.predicted_box(pts_s, self._config.motion_memory_s) for track in self._tracks)
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
        """Returns the track of each box or None: the most assignments first, then the least total cost."""
        owners: list[_Track | None] = [None] * len(boxes)
        if not len(boxes) or not self._tracks:
            return owners
        from scipy.optimize import linear_sum_assignment  # slow to import: see preload

        costs = self._costs(boxes)
        for row, column in zip(*linear_sum_assignment(costs), strict=True):
            if costs[row, column] < FORBIDDEN:
                owners[row] = self._tracks[column]
        return owners

    def _costs(self, boxes: Floats) -> Floats:
        """Returns (boxes, tracks): distance in face sizes + log size ratio + 1 - IoU, all from the predicted boxes."""
        config = self._config
        predicted = np.array([track.predicted_box(self._now_s, config.motion_memory_s) for track in self._tracks])
        unseen_s = np.array([self._now_s - track.seen_s for track in self._tracks])
        sizes, old_sizes = _size_px(boxes), _size_px(predicted)
        apart_px = np.linalg.norm(_centre(boxes)[:, None] - _centre(predicted)[None], axis=2)
        distance = apart_px / np.maximum(sizes[:, None], old_sizes[None])
        growth = np.abs(np.log(sizes[:, None] / old_sizes[None]))
        overlap = geometry.pairwise_iou(boxes, predicted)
        near = distance <= np.minimum(config.reach + config.reach_per_s * unseen_s, config.max_reach)
        possible = near & (growth <= math.log(config.max_growth))
        costs: Floats = np.where(possible, distance + growth + 1 - overlap, FORBIDDEN)
        return costs

    def _end_surplus(self, in_sight: Collection[int], faces: int) -> None:
        """Ends the tracks unseen longest where new ones would exceed `max_tracks`."""
        unseen = [track for track in self._tracks if track.track not in in_sight]
        surplus = len(unseen) + faces - self._config.max_tracks
        if surplus > 0:
            unseen.sort(key=lambda track: (track.seen_s, track.track))
            ended = {track.track for track in unseen[:surplus]}
            self._tracks = [track for track in self._tracks if track.track not in ended]

    def _assign(self, box: Floats, owner: _Track | None) -> int:
        if owner is not None:
            owner.update(box, self._now_s, self._config.motion_memory_s)
            return owner.track
        track = _Track(self._next_track, box, self._now_s, np.zeros(2))
        self._next_track += 1
        self._tracks.append(track)
        return track.track


def _centre(boxes: Floats) -> Floats:
    """Returns the centres (..., 2) of boxes (..., 4)."""
    centre: Floats = (boxes[..., :2] + boxes[..., 2:]) / 2
    return centre


def _size_px(boxes: Floats) -> Floats:
    """Returns the geometric mean (...) of the sides of boxes (..., 4), each at least 1 px."""
    sides = np.maximum(boxes[..., 2:] - boxes[..., :2], 1.0)
    size: Floats = np.sqrt(sides[..., 0] * sides[..., 1])
    return size


def _canonical_order(faces: Sequence[DetectedFace], rows: Floats) -> list[int]:
    """Returns indices by falling size, then position and confidence, so that the input order has no influence."""
    return sorted(range(len(faces)), key=lambda row: (-_size_px(rows[row]), *rows[row], faces[row].confidence))
