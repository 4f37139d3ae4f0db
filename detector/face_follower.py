"""Face follower: the faces of one stream across samples, with full detection only in every third sample."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from detector import geometry
from detector.face_tracker import FaceTracker

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from detector.protocols import FaceFinder
    from detector.types import DetectedFace

# Full detection runs in every third sample, so a new face is noticed two samples late at most. Detection costs several
# times as much as following.
DETECT_EVERY = 3
# Faces are not followed across longer gaps: they may have moved anywhere.
MAX_STEP_S = 1.25
# A followed face that overlaps less with its predicted box has drifted; two that overlap more may be the same face.
_MIN_PREDICTED_IOU = 0.4
_MAX_SHARED_IOU = 0.5


class FaceFollower:
    """Finds and tracks the faces of one stream or file.

    Boxes are compared at the frame width of the first sample, so tracks survive a change of resolution. With `follows`
    false every frame gets full detection: the result does not depend on the frame at which reading starts.
    """

    def __init__(self, first_track: int = 0, follows: bool = True) -> None:
        self._follows = follows
        self._tracker = FaceTracker()
        self._first_track = first_track
        self._width_px: int | None = None
        self._seen_s = -math.inf
        self._followed_samples = 0

    def find(
        self, finder: FaceFinder, rgb: NDArray[np.uint8], pts_s: float, max_faces: int
    ) -> tuple[tuple[int, DetectedFace], ...]:
        """Returns (track id, face) for each face of an RGB uint8 (h, w, 3) frame, largest first.

        `pts_s` is media time in seconds. Raises FinderFailed.
        """
        faces = self._follow(finder, rgb, pts_s)
        self._followed_samples = self._followed_samples + 1 if faces else 0
        return self._assign(pts_s, faces or finder.find(rgb)[:max_faces], rgb.shape[1])

    def _follow(self, finder: FaceFinder, rgb: NDArray[np.uint8], pts_s: float) -> tuple[DetectedFace, ...]:
        """Returns all faces of the last sample at their new positions, or none where full detection is due.

        Detection is due every third sample, after a gap, and where a face was lost, drifted or merged with another.
        """
        is_due = self._followed_samples + 1 >= DETECT_EVERY
        if not self._follows or is_due or not 0 < pts_s - self._seen_s <= MAX_STEP_S:
            return ()
        factor = rgb.shape[1] / (self._width_px or rgb.shape[1])
        predicted = [box.scaled(factor) for box in self._tracker.predicted_boxes(pts_s)]
        if not predicted:
            return ()
        found = finder.follow(rgb, predicted)
        faces = [face for face in found if face is not None]
        pairs = zip(faces, predicted, strict=False)
        is_near = (geometry.iou(face.box, box) >= _MIN_PREDICTED_IOU for face, box in pairs)
        if len(faces) < len(predicted) or not all(is_near) or _any_overlap(faces):
            return ()
        return tuple(sorted(faces, key=lambda face: -face.box.area))

    def _assign(
        self, pts_s: float, faces: Sequence[DetectedFace], width_px: int
    ) -> tuple[tuple[int, DetectedFace], ...]:
        self._seen_s = pts_s
        self._width_px = self._width_px or width_px
        factor = self._width_px / width_px
        scaled = [_scaled(face, factor) for face in faces]
        originals = {id(copy): face for copy, face in zip(scaled, faces, strict=True)}
        tracked = self._tracker.update(pts_s, scaled)
        return tuple((self._first_track + item.track, originals[id(item.face)]) for item in tracked)


def _any_overlap(faces: Sequence[DetectedFace]) -> bool:
    boxes = geometry.box_array(face.box for face in faces)
    overlap = geometry.pairwise_iou(boxes, boxes) > _MAX_SHARED_IOU
    return int(overlap.sum()) > len(faces)


def _scaled(face: DetectedFace, factor: float) -> DetectedFace:
    if factor == 1.0:
        return face
    return replace(face, box=face.box.scaled(factor), landmarks=face.landmarks * face.landmarks.dtype.type(factor))
