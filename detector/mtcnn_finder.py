"""MTCNN behind `FaceFinder`: pyramid -> P-Net -> R-Net -> O-Net, on a small copy of the frame.

Follows the `mtcnn` package, which the parity test compares it with: RGB, (x - 127.5) / 128, area-averaged pyramid,
bilinear crops without smoothing, the same thresholds. All work is bounded: by the size of the copy, by the number of
candidates handed from stage to stage, and by the number of frame sizes that are remembered.
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from detector import geometry, image_pyramid, mtcnn_openvino
from detector.errors import FinderFailed, WeightsRefused
from detector.mtcnn_config import MtcnnConfig
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
    """Finds faces. Blocks for milliseconds (tens of ms on the first frame of a new size); not thread-safe.

    Raises WeightsRefused when built without the published weights.
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
        self._pyramids: OrderedDict[tuple[int, int], ProposalStage | None] = OrderedDict()

    def find(self, rgb: Picture) -> tuple[DetectedFace, ...]:
        """Faces on an RGB uint8 (h, w, 3) frame, largest first, in pixels of that frame. Raises FinderFailed.

        Boxes and landmarks may reach outside the frame. Frames too small to hold a face give an empty tuple.
        """
        with _failures(rgb):
            picture = self._copy(np.ascontiguousarray(rgb))
            found = self._cascade(picture)
        return tuple(sorted((_face(row, _stretch(rgb, picture)) for row in found), key=lambda face: -face.box.area))

    def follow(self, rgb: Picture, places: Sequence[FaceBox]) -> tuple[DetectedFace | None, ...]:
        """For each place (in pixels of the frame) the face near it, by R-Net and O-Net alone. Raises FinderFailed.

        None where there is no face any more, or none as large as `find` would return.
        """
        if not places:
            return ()
        with _failures(rgb):
            picture = self._copy(np.ascontiguousarray(rgb))
            stretch = _stretch(rgb, picture)
            boxes = (geometry.box_array(places) / np.tile(stretch, 2)).astype(np.float32)
            rows, is_face = self._look_again(picture, boxes)
        return tuple(_face(row, stretch) if certain else None for row, certain in zip(rows, is_face, strict=True))

    def _look_again(self, picture: Picture, boxes: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """(n, 15) rows as of `_cascade`, one per box, and whether a face is there."""
        squares = geometry.enclosing_squares(np.concatenate([_shifted(box) for box in boxes]))
        face, offsets = self._rnet.run(picture, squares)
        confidence = face[:, 1].reshape(len(boxes), -1)
        best = confidence.argmax(axis=1) + np.arange(len(boxes)) * confidence.shape[1]
        rows = self._rows(picture, apply_offsets(squares[best], offsets[best]))
        sure = (confidence.max(axis=1) > self._config.rnet_threshold) & (rows[:, 4] > self._config.onet_threshold)
        return rows, sure & self._is_large(rows)

    @property
    def cached_sizes(self) -> tuple[tuple[int, int], ...]:
        """(width, height) of the copies whose graphs are kept, the last used one last."""
        return tuple(self._pyramids)

    def _copy(self, rgb: Picture) -> Picture:
        height, width = rgb.shape[:2]
        by_side = self._config.work_height_px / min(height, width)
        factor = min(1.0, by_side, (self._config.work_area_px / (height * width)) ** 0.5)
        if factor == 1.0:
            return rgb
        size = max(1, round(width * factor)), max(1, round(height * factor))
        return downscale(rgb, size)

    def _cascade(self, picture: Picture) -> Floats:
        """float32 (n, 15): box, confidence, five x, five y."""
        levels = self._pyramid(picture.shape[1], picture.shape[0])
        proposals = levels.propose(picture) if levels else None
        if not proposals:
            return np.empty((0, 15), dtype=np.float32)
        return self._output(picture, self._refine(picture, proposals))

    def _pyramid(self, width_px: int, height_px: int) -> ProposalStage | None:
        """The pyramid for one copy size, from the cache of the sizes last seen; None where no face fits."""
        size = width_px, height_px
        if size not in self._pyramids:
            self._pyramids[size] = self._new_pyramid(width_px, height_px)
            if len(self._pyramids) > self._config.max_frame_sizes:
                self._pyramids.popitem(last=False)
        self._pyramids.move_to_end(size)
        return self._pyramids[size]

    def _new_pyramid(self, width_px: int, height_px: int) -> ProposalStage | None:
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
        squares = geometry.enclosing_squares(proposals.boxes)
        face, offsets = self._rnet.run(picture, squares)
        kept = np.flatnonzero(face[:, 1] > self._config.rnet_threshold)
        found = Candidates(apply_offsets(squares[kept], offsets[kept]), face[kept, 1]).best(self._config.max_proposals)
        overlap = geometry.pairwise_iou(found.boxes, found.boxes)
        return found.take(geometry.suppress_overlaps(overlap > 0.7)[: self._config.max_faces])

    def _output(self, picture: Picture, candidates: Candidates) -> Floats:
        if not len(candidates):
            return np.empty((0, 15), dtype=np.float32)
        rows = self._rows(picture, candidates.boxes)
        rows = rows[self._is_large(rows) & (rows[:, 4] > self._config.onet_threshold)]
        rows = rows[np.argsort(-rows[:, 4], kind="stable")]
        overlap = geometry.pairwise_overlap_of_smaller(rows[:, :4], rows[:, :4])
        best: Floats = rows[geometry.suppress_overlaps(overlap > 0.7)]
        return best

    def _rows(self, picture: Picture, boxes: Floats) -> Floats:
        """What O-Net says of every box: (n, 15) box, confidence, five x, five y."""
        squares = geometry.enclosing_squares(boxes)
        face, offsets, marks = self._onet.run(picture, squares)
        corner, sizes = squares[:, :2] - 1, squares[:, 2:] - squares[:, :2] + 1
        landmarks = np.repeat(corner, 5, axis=1) + np.repeat(sizes, 5, axis=1) * marks
        return np.concatenate([apply_offsets(squares, offsets), face[:, 1:], landmarks], axis=1)

    def _is_large(self, rows: Floats) -> NDArray[np.bool_]:
        large: NDArray[np.bool_] = (rows[:, 2:4] - rows[:, :2]).max(axis=1) >= self._config.min_face_px
        return large


@contextmanager
def _failures(rgb: Picture) -> Iterator[None]:
    """Refuses what is no frame, and says which frame the networks could not run on. Raises FinderFailed."""
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or rgb.size == 0:
        raise FinderFailed(f"expected an RGB uint8 (h, w, 3) frame, got {rgb.dtype} {rgb.shape}")
    try:
        yield
    except (RuntimeError, cv2.error) as error:
        raise FinderFailed(f"MTCNN could not run on a {rgb.shape[1]}x{rgb.shape[0]} frame: {error}") from error


# Centre, in sides of a square, and size of the eight squares in which a face is followed.
_SHIFTS = np.array([
    (0, 0, 1), (-0.12, 0, 1), (0.12, 0, 1), (0, -0.12, 1), (0, 0.12, 1), (0, 0, 0.85), (0, 0, 1.15), (0, 0, 1.3)
], dtype=np.float32)  # fmt: skip


def _shifted(box: Floats) -> Floats:
    """(8, 4): squares around the place of one box, like those that P-Net proposes around a face."""
    centre, side = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]).max()
    centres, halves = centre + _SHIFTS[:, :2] * side, _SHIFTS[:, 2:] * side / 2
    return np.concatenate([centres - halves, centres + halves], axis=1)


def _stretch(rgb: Picture, picture: Picture) -> Floats:
    """(x, y) from the copy to the frame."""
    return np.array([rgb.shape[1] / picture.shape[1], rgb.shape[0] / picture.shape[0]], dtype=np.float32)


def _face(row: Floats, stretch: Floats) -> DetectedFace:
    """One row of the cascade in pixels of the frame."""
    left, top, right, bottom = (float(value) for value in row[:4] * np.tile(stretch, 2))
    landmarks = (row[5:15].reshape(2, 5).T * stretch).astype(np.float32)
    return DetectedFace(FaceBox(left, top, right, bottom), float(row[4]), landmarks)
