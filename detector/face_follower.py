"""The faces of one stream from sample to sample: followed where they were, and sought everywhere now and then."""

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

# A new face is noticed this many samples late at most. Seeking costs several times what following does.
DETECT_EVERY = 3
# Beyond this time between two samples nobody is where they were.
LONGEST_STEP_S = 1.25
# A followed face that lies elsewhere than foreseen has drifted; two that share a place may be one.
_NEAR_IOU = 0.4
_SHARED_IOU = 0.5


class FaceFollower:
    """The tracks of one stream or file. Faces are compared on one scale, so that a change of size keeps them.

    Where it `follows` nobody, every frame is searched, so that what is found does not hang on where one began.
    """

    def __init__(self, first_track: int = 0, follows: bool = True) -> None:
        self._follows = follows
        self._tracker = FaceTracker()
        self._first_track = first_track
        self._width_px: int | None = None
        self._seen_s = -math.inf
        self._followed = 0

    def find(
        self, finder: FaceFinder, rgb: NDArray[np.uint8], pts_s: float, max_faces: int
    ) -> tuple[tuple[int, DetectedFace], ...]:
        """(track, face) for each face of an RGB uint8 (h, w, 3) frame, largest first. Raises FinderFailed."""
        faces = self._follow(finder, rgb, pts_s)
        self._followed = self._followed + 1 if faces else 0
        return self._assign(pts_s, faces or finder.find(rgb)[:max_faces], rgb.shape[1])

    def _follow(self, finder: FaceFinder, rgb: NDArray[np.uint8], pts_s: float) -> tuple[DetectedFace, ...]:
        """All faces of the last sample in this one; none if it is time to seek, or one was lost, drifted or merged."""
        if not self._follows or self._followed + 1 >= DETECT_EVERY or not 0 < pts_s - self._seen_s <= LONGEST_STEP_S:
            return ()
        factor = rgb.shape[1] / (self._width_px or rgb.shape[1])
        places = [box.scaled(factor) for box in self._tracker.foreseen(pts_s)]
        if not places:
            return ()
        found = finder.follow(rgb, places)
        faces = [face for face in found if face is not None]
        near = (geometry.iou(face.box, place) >= _NEAR_IOU for face, place in zip(faces, places, strict=False))
        if len(faces) < len(places) or not all(near) or _share_places(faces):
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
        followed = self._tracker.update(pts_s, scaled)
        return tuple((self._first_track + item.track, originals[id(item.face)]) for item in followed)


def _share_places(faces: Sequence[DetectedFace]) -> bool:
    boxes = geometry.box_array(face.box for face in faces)
    overlap = geometry.pairwise_iou(boxes, boxes) > _SHARED_IOU
    return int(overlap.sum()) > len(faces)


def _scaled(face: DetectedFace, factor: float) -> DetectedFace:
    if factor == 1.0:
        return face
    return replace(face, box=face.box.scaled(factor), landmarks=face.landmarks * face.landmarks.dtype.type(factor))
