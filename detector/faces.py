"""MTCNN behind `FaceFinder`: pyramid -> P-Net -> R-Net -> O-Net, on a small copy of the frame.

Follows the `mtcnn` package, which the parity test compares it with: RGB, (x - 127.5) / 128, area-averaged pyramid,
bilinear crops without smoothing, the same thresholds. All work is bounded: by the size of the copy, by the number of
candidates handed from stage to stage, and by the number of frame sizes that are remembered.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np
import openvino as ov

from detector import geometry, mtcnn_graphs, pyramid
from detector.errors import FinderFailed, WeightsRefused
from detector.types import DetectedFace, FaceBox

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Picture = NDArray[np.uint8]

WEIGHTS_FOLDER = Path(__file__).parent / "weights"
RNET_BATCHES = (8, 16, 32, 64)
ONET_BATCHES = (1, 2, 4, 8, 16)


@dataclass(frozen=True, slots=True)
class MtcnnConfig:
    """Sizes are pixels of the copy on which faces are sought.

    `work_height_px`: the shorter side of the copy (a landscape frame's height); frames are never enlarged.
    `min_face_px`: shorter side of the smallest face that is returned. The default is one step of the reference's
    own pyramid (20 px / .709), so that both look at the same levels.
    Thresholds are the reference's: a probability above which a candidate passes to the next stage.
    `precision`: "f32", or "bf16" for CPUs with AMX; "auto" takes what the CPU is good at.
    """

    work_height_px: int = 360
    min_face_px: float = 20 / 0.709
    scale_factor: float = 0.709
    pnet_threshold: float = 0.6
    rnet_threshold: float = 0.7
    onet_threshold: float = 0.8
    num_threads: int = 1
    precision: Literal["auto", "f32", "bf16"] = "auto"
    max_cells: int = 1024
    max_proposals: int = 256
    max_faces: int = 64
    max_frame_sizes: int = 8

    @property
    def work_area_px(self) -> int:
        """Bound for pictures that are all width; 21:9 still gets the full height."""
        return int(2.4 * self.work_height_px**2)


@dataclass(frozen=True, slots=True, eq=False)
class _Candidates:
    """`boxes` float32 (n, 4) in pixels of the copy; `confidence` float32 (n,); highest confidence first."""

    boxes: Floats
    confidence: Floats

    def __len__(self) -> int:
        return len(self.confidence)

    def take(self, rows: NDArray[np.intp]) -> _Candidates:
        return _Candidates(self.boxes[rows], self.confidence[rows])

    def best(self, limit: int) -> _Candidates:
        return self.take(np.argsort(-self.confidence, kind="stable")[:limit])


class _Runner:
    """One compiled graph with its input buffer, uint8 (n, h, w, 3); the next run overwrites the answers."""

    def __init__(self, compiled: ov.CompiledModel) -> None:
        self.rgb: Picture = np.full(tuple(compiled.input(0).shape), 128, dtype=np.uint8)
        self._request = compiled.create_infer_request()
        self._request.set_input_tensor(ov.Tensor(self.rgb, shared_memory=True))
        self._outputs = [self._request.get_output_tensor(index).data for index in range(len(compiled.outputs))]

    def run(self) -> list[Floats]:
        self._request.infer()
        return self._outputs


class _Compiler:
    """Compiles graphs for the CPU with the settings of one finder."""

    def __init__(self, config: MtcnnConfig) -> None:
        self._core = ov.Core()
        self._settings = {
            "INFERENCE_NUM_THREADS": config.num_threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": self._precision(config),
        }

    def _precision(self, config: MtcnnConfig) -> str:
        if config.precision != "auto":
            return config.precision
        return "bf16" if "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "f32"

    def runner(self, graph: ov.Model) -> _Runner:
        return _Runner(self._core.compile_model(graph, "CPU", self._settings))


class _Batches:
    """One network at a few fixed batch sizes, fed with square crops."""

    def __init__(self, runners: Sequence[_Runner]) -> None:
        self._runners = sorted(runners, key=lambda runner: len(runner.rgb))
        self._side_px = self._runners[0].rgb.shape[1]

    def run(self, picture: Picture, boxes: Floats) -> list[Floats]:
        """The network's answers, row by row, for the crops of `boxes`."""
        step = len(self._runners[-1].rgb)
        parts = [self._run_some(picture, boxes[start : start + step]) for start in range(0, len(boxes), step)]
        return [np.concatenate(rows) for rows in zip(*parts, strict=True)]

    def _run_some(self, picture: Picture, boxes: Floats) -> list[Floats]:
        runner = next(runner for runner in self._runners if len(runner.rgb) >= len(boxes))
        runner.rgb[: len(boxes)] = crops(picture, boxes, self._side_px)
        return [rows[: len(boxes)].copy() for rows in runner.run()]


def crops(picture: Picture, boxes: Floats, side_px: int) -> Picture:
    """uint8 (n, side, side, 3): bilinear samples with the boxes' corners on corner pixels, mid-grey outside.

    The sampling grid is that of the reference (TensorFlow's crop_and_resize on coordinates divided by the sides).
    """
    height, width = picture.shape[:2]
    steps = np.linspace(0, 1, side_px, dtype=np.float32)
    shrink = np.array([(width - 1) / width, (height - 1) / height] * 2, dtype=np.float32)
    left, top, right, bottom = (boxes * shrink).T[:, :, None]
    across, down = left + (right - left) * steps, top + (bottom - top) * steps
    shape = (len(boxes), side_px, side_px)
    map_x = np.broadcast_to(across[:, None, :], shape).reshape(-1, side_px)
    map_y = np.broadcast_to(down[:, :, None], shape).reshape(-1, side_px)
    grey = (127.5, 127.5, 127.5)
    sampled = cv2.remap(picture, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=grey)
    return sampled.reshape(*shape, 3).astype(np.uint8, copy=False)


def _shrunk(rgb: Picture, size: tuple[int, int]) -> Picture:
    """Averaged by area to (width, height)."""
    return cv2.resize(rgb, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _odd_edges(canvas: Picture, level: pyramid.Level) -> list[tuple[Picture, Picture]]:
    """(beyond, last) lines of the canvas for each odd side of a level.

    Alone, an odd side ends in a pooling window that is half empty; on the canvas the other half sees one line beyond
    the level. Repeating the level's last line there keeps that half from deciding.
    """
    rows, columns = slice(level.top, level.bottom), slice(level.left, level.right)
    edges = []
    if level.width % 2:
        edges.append((canvas[rows, level.right], canvas[rows, level.right - 1]))
    if level.height % 2:
        edges.append((canvas[level.bottom, columns], canvas[level.bottom - 1, columns]))
    return edges


class _Pyramid:
    """P-Net over all levels of one copy size in one run."""

    def __init__(self, levels: Sequence[pyramid.Level], runner: _Runner, config: MtcnnConfig) -> None:
        self._levels, self._runner, self._config = levels, runner, config
        canvas = runner.rgb[0]
        self._views = [canvas[level.top : level.bottom, level.left : level.right] for level in levels]
        self._edges = [edge for level in levels for edge in _odd_edges(canvas, level)]
        rows, columns = runner.run()[0].shape[1:3]
        self._owner = pyramid.cell_levels(levels, rows, columns).reshape(-1)
        self._columns = columns
        self._least_log_odds = math.log(config.pnet_threshold / (1 - config.pnet_threshold))
        self._corners = np.array([(level.left, level.top) for level in levels], dtype=np.float32)
        self._scales = np.array([[level.scale] for level in levels], dtype=np.float32)

    def propose(self, picture: Picture) -> _Candidates:
        """Boxes that may hold a face, not yet square; at most `max_proposals`."""
        self._draw(picture)
        cells = self._runner.run()[0].reshape(-1, 5)
        log_odds = cells[:, 0]
        chosen = np.flatnonzero((log_odds > self._least_log_odds) & (self._owner >= 0))
        chosen = chosen[np.argsort(-log_odds[chosen], kind="stable")[: self._config.max_cells]]
        owner = self._owner[chosen]
        confidence = (1 / (1 + np.exp(-log_odds[chosen]))).astype(np.float32)
        found = _Candidates(self._boxes(chosen, owner, cells[chosen, 1:]), confidence)
        return self._without_doubles(found, owner)

    def _draw(self, picture: Picture) -> None:
        """Draws all levels onto the canvas."""
        halves = [picture]
        for view, level in zip(self._views, self._levels, strict=True):
            count, bilinear = pyramid.halvings(level.scale)
            while len(halves) <= count:
                height, width = halves[-1].shape[:2]
                halves.append(_shrunk(halves[-1], (width // 2, height // 2)))
            method = cv2.INTER_LINEAR if bilinear else cv2.INTER_AREA
            cv2.resize(halves[count], (level.width, level.height), dst=view, interpolation=method)
        for edge, last in self._edges:
            edge[:] = last

    def _boxes(self, cells: NDArray[np.intp], owner: NDArray[np.int8], offsets: Floats) -> Floats:
        row, column = np.divmod(cells, self._columns)
        # The published offsets count from a cell's second pixel to its end.
        side = pyramid.CELL_PX - 1
        corner = np.stack([column, row], axis=1) * pyramid.STRIDE_PX - self._corners[owner] + 1
        square = np.concatenate([corner, corner + side], axis=1)
        boxes: Floats = ((square + offsets * side) / self._scales[owner]).astype(np.float32)
        return boxes

    def _without_doubles(self, found: _Candidates, owner: NDArray[np.int8]) -> _Candidates:
        """First within each level (overlap .5), then across levels (.7)."""
        overlap = geometry.pairwise_iou(found.boxes, found.boxes)
        rows = geometry.survivors((overlap > 0.5) & (owner[:, None] == owner[None, :]))
        rows = rows[geometry.survivors(overlap[np.ix_(rows, rows)] > 0.7)]
        return found.take(rows[: self._config.max_proposals])


def refined(boxes: Floats, offsets: Floats) -> Floats:
    """Boxes moved by a network's answer, given in shares of the sides (which the reference counts inclusively)."""
    sizes = boxes[:, 2:] - boxes[:, :2] + 1
    moved: Floats = boxes + offsets * np.concatenate([sizes, sizes], axis=1)
    return moved


class Mtcnn:
    """Finds faces. Blocks for milliseconds (tens of ms on the first frame of a new size); not thread-safe.

    Raises WeightsRefused when built without the published weights.
    """

    def __init__(self, config: MtcnnConfig | None = None, weights_folder: Path = WEIGHTS_FOLDER) -> None:
        self._config = config or MtcnnConfig()
        self._weights = mtcnn_graphs.load_weights(weights_folder)
        try:
            self._compiler = _Compiler(self._config)
            build = self._compiler.runner
            self._rnet = _Batches([build(mtcnn_graphs.rnet(self._weights, size)) for size in RNET_BATCHES])
            self._onet = _Batches([build(mtcnn_graphs.onet(self._weights, size)) for size in ONET_BATCHES])
        except RuntimeError as error:
            raise WeightsRefused(f"the MTCNN graphs cannot be built: {error}") from error
        self._pyramids: OrderedDict[tuple[int, int], _Pyramid | None] = OrderedDict()

    def find(self, rgb: Picture) -> tuple[DetectedFace, ...]:
        """Faces on an RGB uint8 (h, w, 3) frame, largest first, in pixels of that frame. Raises FinderFailed.

        Boxes and landmarks may reach outside the frame. Frames too small to hold a face give an empty tuple.
        """
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or rgb.size == 0:
            raise FinderFailed(f"expected an RGB uint8 (h, w, 3) frame, got {rgb.dtype} {rgb.shape}")
        try:
            picture = self._copy(np.ascontiguousarray(rgb))
            found = self._cascade(picture)
        except (RuntimeError, cv2.error) as error:
            raise FinderFailed(f"MTCNN could not run on a {rgb.shape[1]}x{rgb.shape[0]} frame: {error}") from error
        stretch = np.array([rgb.shape[1] / picture.shape[1], rgb.shape[0] / picture.shape[0]], dtype=np.float32)
        return tuple(sorted((_face(row, stretch) for row in found), key=lambda face: -face.box.area))

    def _copy(self, rgb: Picture) -> Picture:
        height, width = rgb.shape[:2]
        by_side = self._config.work_height_px / min(height, width)
        factor = min(1.0, by_side, (self._config.work_area_px / (height * width)) ** 0.5)
        if factor == 1.0:
            return rgb
        size = max(1, round(width * factor)), max(1, round(height * factor))
        return _shrunk(rgb, size)

    def _cascade(self, picture: Picture) -> Floats:
        """float32 (n, 15): box, confidence, five x, five y."""
        levels = self._pyramid(picture.shape[1], picture.shape[0])
        proposals = levels.propose(picture) if levels else None
        if not proposals:
            return np.empty((0, 15), dtype=np.float32)
        return self._output(picture, self._refine(picture, proposals))

    def _pyramid(self, width_px: int, height_px: int) -> _Pyramid | None:
        """The pyramid for one copy size, from the cache of the sizes last seen; None where no face fits."""
        size = width_px, height_px
        if size not in self._pyramids:
            self._pyramids[size] = self._new_pyramid(width_px, height_px)
            if len(self._pyramids) > self._config.max_frame_sizes:
                self._pyramids.popitem(last=False)
        self._pyramids.move_to_end(size)
        return self._pyramids[size]

    def _new_pyramid(self, width_px: int, height_px: int) -> _Pyramid | None:
        base_scale = pyramid.CELL_PX / self._config.min_face_px
        levels = pyramid.pack(pyramid.level_sizes(width_px, height_px, base_scale, self._config.scale_factor))
        if not levels:
            return None
        canvas_width, canvas_height = pyramid.canvas_size(levels)
        graph = mtcnn_graphs.pnet(self._weights, canvas_height, canvas_width)
        return _Pyramid(levels, self._compiler.runner(graph), self._config)

    def _refine(self, picture: Picture, proposals: _Candidates) -> _Candidates:
        squares = geometry.squared(proposals.boxes)
        face, offsets = self._rnet.run(picture, squares)
        kept = np.flatnonzero(face[:, 1] > self._config.rnet_threshold)
        found = _Candidates(refined(squares[kept], offsets[kept]), face[kept, 1]).best(self._config.max_proposals)
        overlap = geometry.pairwise_iou(found.boxes, found.boxes)
        return found.take(geometry.survivors(overlap > 0.7)[: self._config.max_faces])

    def _output(self, picture: Picture, candidates: _Candidates) -> Floats:
        if not len(candidates):
            return np.empty((0, 15), dtype=np.float32)
        squares = geometry.squared(candidates.boxes)
        face, offsets, marks = self._onet.run(picture, squares)
        corner, sizes = squares[:, :2] - 1, squares[:, 2:] - squares[:, :2] + 1
        landmarks = np.repeat(corner, 5, axis=1) + np.repeat(sizes, 5, axis=1) * marks
        rows = np.concatenate([refined(squares, offsets), face[:, 1:], landmarks], axis=1)
        large = (rows[:, 2:4] - rows[:, :2]).min(axis=1) >= self._config.min_face_px
        rows = rows[large & (rows[:, 4] > self._config.onet_threshold)]
        rows = rows[np.argsort(-rows[:, 4], kind="stable")]
        overlap = geometry.pairwise_overlap_of_smaller(rows[:, :4], rows[:, :4])
        best: Floats = rows[geometry.survivors(overlap > 0.7)]
        return best


def _face(row: Floats, stretch: Floats) -> DetectedFace:
    """One row of the cascade in pixels of the frame."""
    left, top, right, bottom = (float(value) for value in row[:4] * np.tile(stretch, 2))
    landmarks = (row[5:15].reshape(2, 5).T * stretch).astype(np.float32)
    return DetectedFace(FaceBox(left, top, right, bottom), float(row[4]), landmarks)
