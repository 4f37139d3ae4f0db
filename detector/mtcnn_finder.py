"""MTCNN face finder: pyramid -> P-Net -> R-Net -> O-Net, on a small copy of the frame.

Reproduces the `mtcnn` package, and a parity test compares the two: RGB, (x - 127.5) / 128, area-averaged pyramid,
bilinear crops without smoothing, the same thresholds. All work is bounded: by the size of the copy, by the number of
candidates passed from stage to stage, and by the number of frame sizes whose graphs are kept.
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from detector import geometry, image_pyramid, mtcnn_openvino
from detector.config import MtcnnConfig
from detector.errors import FinderFailed, WeightsRefused
from detector.mtcnn_stages import BatchedNetwork, Candidates, GraphCompiler, ProposalStage, apply_offsets, downscale
from detector.types import DetectedFace, FaceBox

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Picture = NDArray[np.uint8]

__all__ = ["MtcnnConfig", "MtcnnFaceFinder"]

WEIGHTS_FOLDER = Path(__file__).parent / "weights"
RNET_BATCHES = (8, 16, 32, 64)
ONET_BATCHES = (1, 2, 4, 8, 16)


class MtcnnFaceFinder:
    """`FaceFinder` by MTCNN. Blocks for milliseconds, tens of ms on the first frame of a new size; not thread-safe.

    The constructor raises WeightsRefused without the published weights.
    """

    def __init__(self, config: MtcnnConfig | None = None, weights_folder: Path = WEIGHTS_FOLDER) -> None:
        self._config = config or MtcnnConfig()
        self._weights = mtcnn_openvino.load_weights(weights_folder)
        try:
            self._compiler = GraphCompiler(self._config)
            build = self._compiler.compile
            self._rnet = BatchedNetwork(RNET_BATCHES, lambda size: build(mtcnn_openvino.rnet(self._weights, size)))
            self._onet = BatchedNetwork(ONET_BATCHES, lambda size: build(mtcnn_openvino.onet(self._weights, size)))
        except RuntimeError as error:
            raise WeightsRefused(f"the MTCNN graphs cannot be built: {error}") from error
        self._stages: OrderedDict[tuple[int, int], ProposalStage | None] = OrderedDict()

    def find(self, rgb: Picture) -> tuple[DetectedFace, ...]:
        """Returns the faces of an RGB uint8 (h, w, 3) frame, largest first, in pixels of that frame.

        Boxes and landmarks may reach outside the frame. Frames too small for a face give an empty tuple. Raises
        FinderFailed.
        """
        with _checked_frame(rgb):
            picture = self._working_copy(np.ascontiguousarray(rgb))
            rows = self._detect(picture)
        faces = (_face(row, _scale_to_frame(rgb, picture)) for row in rows)
        return tuple(sorted(faces, key=lambda face: -face.box.area))

    def follow(self, rgb: Picture, boxes: Sequence[FaceBox]) -> tuple[DetectedFace | None, ...]:
        """Returns the face near each box (in pixels of the frame), found by R-Net and O-Net alone, or None.

        None means that there is no face, or none as large as `find` would return. Raises FinderFailed.
        """
        if not boxes:
            return ()
        with _checked_frame(rgb):
            picture = self._working_copy(np.ascontiguousarray(rgb))
            to_frame = _scale_to_frame(rgb, picture)
            copy_boxes = (geometry.box_array(boxes) / np.tile(to_frame, 2)).astype(np.float32)
            rows, is_face = self._refine_near(picture, copy_boxes)
        return tuple(_face(row, to_frame) if certain else None for row, certain in zip(rows, is_face, strict=True))

    def _refine_near(self, picture: Picture, boxes: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """Returns (n, 15) rows as `_detect` does, one per box, and bool (n,): whether a face is there."""
        squares = geometry.enclosing_squares(np.concatenate([_squares_around(box) for box in boxes]))
        face, offsets = self._rnet.run(picture, squares)
        confidence = face[:, 1].reshape(len(boxes), -1)
        best = confidence.argmax(axis=1) + np.arange(len(boxes)) * confidence.shape[1]
        rows = self._rows(picture, apply_offsets(squares[best], offsets[best]))
        sure = (confidence.max(axis=1) > self._config.rnet_threshold) & (rows[:, 4] > self._config.onet_threshold)
        return rows, sure & self._is_large(rows)

    @property
    def cached_sizes(self) -> tuple[tuple[int, int], ...]:
        """(width, height) of the working copies whose graphs are kept, the most recently used last."""
        return tuple(self._stages)

    def _working_copy(self, rgb: Picture) -> Picture:
        """Returns the frame downscaled to the limits of the settings, or the frame itself."""
        height, width = rgb.shape[:2]
        by_side = self._config.work_height_px / min(height, width)
        factor = min(1.0, by_side, (self._config.work_area_px / (height * width)) ** 0.5)
        if factor == 1.0:
            return rgb
        size = max(1, round(width * factor)), max(1, round(height * factor))
        return downscale(rgb, size)

    def _detect(self, picture: Picture) -> Floats:
        """Returns float32 (n, 15): box, confidence, five x, five y, in pixels of the working copy."""
        stage = self._proposal_stage(picture.shape[1], picture.shape[0])
        proposals = stage.propose(picture) if stage else None
        if not proposals:
            return np.empty((0, 15), dtype=np.float32)
        return self._final_faces(picture, self._refine(picture, proposals))

    def _proposal_stage(self, width_px: int, height_px: int) -> ProposalStage | None:
        """Returns the P-Net stage for one size of the working copy, from an LRU cache; None where no face fits."""
        size = width_px, height_px
        if size not in self._stages:
            self._stages[size] = self._build_proposal_stage(width_px, height_px)
            if len(self._stages) > self._config.max_frame_sizes:
                self._stages.popitem(last=False)
        self._stages.move_to_end(size)
        return self._stages[size]

    def _build_proposal_stage(self, width_px: int, height_px: int) -> ProposalStage | None:
        base_scale = image_pyramid.CELL_PX / self._config.min_face_px
        levels = image_pyramid.pack_levels(
            image_pyramid.level_sizes(width_px, height_px, base_scale, self._config.scale_factor)
        )
        if not levels:
            return None
        canvas_width, canvas_height = image_pyramid.canvas_size(levels)
        graph = mtcnn_openvino.pnet(self._weights, canvas_height, canvas_width)
        return ProposalStage(levels, self._compiler.compile(graph), self._config)

    def _refine(self, picture: Picture, proposals: Candidates) -> Candidates:
        """Returns the candidates that pass R-Net and its non-maximum suppression."""
        squares = geometry.enclosing_squares(proposals.boxes)
        face, offsets = self._rnet.run(picture, squares)
        kept = np.flatnonzero(face[:, 1] > self._config.rnet_threshold)
        found = Candidates(apply_offsets(squares[kept], offsets[kept]), face[kept, 1]).best(self._config.max_proposals)
        overlap = geometry.pairwise_iou(found.boxes, found.boxes)
        return found.take(geometry.suppress_overlaps(overlap > 0.7)[: self._config.max_faces])

    def _final_faces(self, picture: Picture, candidates: Candidates) -> Floats:
        """Returns the rows (n, 15) that pass O-Net and its non-maximum suppression."""
        if not len(candidates):
            return np.empty((0, 15), dtype=np.float32)
        rows = self._rows(picture, candidates.boxes)
        rows = rows[self._is_large(rows) & (rows[:, 4] > self._config.onet_threshold)]
        rows = rows[np.argsort(-rows[:, 4], kind="stable")]
        overlap = geometry.pairwise_overlap_of_smaller(rows[:, :4], rows[:, :4])
        best: Floats = rows[geometry.suppress_overlaps(overlap > 0.7)]
        return best

    def _rows(self, picture: Picture, boxes: Floats) -> Floats:
        """Returns the output of O-Net for every box: (n, 15) box, confidence, five x, five y."""
        squares = geometry.enclosing_squares(boxes)
        face, offsets, marks = self._onet.run(picture, squares)
        corner, sizes = squares[:, :2] - 1, squares[:, 2:] - squares[:, :2] + 1
        landmarks = np.repeat(corner, 5, axis=1) + np.repeat(sizes, 5, axis=1) * marks
        return np.concatenate([apply_offsets(squares, offsets), face[:, 1:], landmarks], axis=1)

    def _is_large(self, rows: Floats) -> NDArray[np.bool_]:
        large: NDArray[np.bool_] = (rows[:, 2:4] - rows[:, :2]).max(axis=1) >= self._config.min_face_px
        return large


@contextmanager
def _checked_frame(rgb: Picture) -> Iterator[None]:
    """Raises FinderFailed for anything but an RGB uint8 (h, w, 3) frame, and for failures inside the block."""
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or rgb.size == 0:
        raise FinderFailed(f"expected an RGB uint8 (h, w, 3) frame, got {rgb.dtype} {rgb.shape}")
    try:
        yield
    except (RuntimeError, cv2.error) as error:
        raise FinderFailed(f"MTCNN could not run on a {rgb.shape[1]}x{rgb.shape[0]} frame: {error}") from error


# The eight squares in which a face is followed: shift x, shift y (in sides of its box) and relative size.
_SHIFTS = np.array([
    (0, 0, 1), (-0.12, 0, 1), (0.12, 0, 1), (0, -0.12, 1), (0, 0.12, 1), (0, 0, 0.85), (0, 0, 1.15), (0, 0, 1.3)
], dtype=np.float32)  # fmt: skip


def _squares_around(box: Floats) -> Floats:
    """Returns (8, 4): squares around one box, similar to the proposals of P-Net around a face."""
    centre, side = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]).max()
    centres, halves = centre + _SHIFTS[:, :2] * side, _SHIFTS[:, 2:] * side / 2
    return np.concatenate([centres - halves, centres + halves], axis=1)


def _scale_to_frame(rgb: Picture, picture: Picture) -> Floats:
    """Returns the factors (x, y) from the working copy to the frame."""
    return np.array([rgb.shape[1] / picture.shape[1], rgb.shape[0] / picture.shape[0]], dtype=np.float32)


def _face(row: Floats, to_frame: Floats) -> DetectedFace:
    """Returns one row (15,) as a face in pixels of the frame."""
    left, top, right, bottom = (float(value) for value in row[:4] * np.tile(to_frame, 2))
    landmarks = (row[5:15].reshape(2, 5).T * to_frame).astype(np.float32)
    return DetectedFace(FaceBox(left, top, right, bottom), float(row[4]), landmarks)
