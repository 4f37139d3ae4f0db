"""Settings and stages of MTCNN on OpenVINO: P-Net over a packed pyramid, R-Net and O-Net over batches of crops."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from detector import geometry, image_pyramid
from detector.openvino_runtime import ov

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from detector.config import MtcnnConfig

    Floats = NDArray[np.float32]
    Picture = NDArray[np.uint8]

GREY = (127.5, 127.5, 127.5)


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Candidate faces: `boxes` float32 (n, 4) in pixels of the working copy, `confidence` float32 (n,)."""

    boxes: Floats
    confidence: Floats

    def __len__(self) -> int:
        return len(self.confidence)

    def take(self, rows: NDArray[np.intp]) -> Candidates:
        """Returns the candidates of these rows, in their order."""
        return Candidates(self.boxes[rows], self.confidence[rows])

    def best(self, limit: int) -> Candidates:
        """Returns the `limit` candidates of highest confidence, highest first."""
        return self.take(np.argsort(-self.confidence, kind="stable")[:limit])


class CompiledNetwork:
    """A compiled graph with its input buffer `rgb`, uint8 (n, h, w, 3). Each run overwrites the outputs of the last."""

    def __init__(self, compiled: ov.CompiledModel) -> None:
        self.rgb: Picture = np.full(tuple(compiled.input(0).shape), 128, dtype=np.uint8)
        self._request = compiled.create_infer_request()
        self._request.set_input_tensor(ov.Tensor(self.rgb, shared_memory=True))
        self._outputs = [self._request.get_output_tensor(index).data for index in range(len(compiled.outputs))]

    def run(self) -> list[Floats]:
        """Runs the graph on `rgb` and returns views of its outputs."""
        self._request.infer()
        return self._outputs


class GraphCompiler:
    """Compiles graphs for the CPU with the settings of one face finder."""

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

    def compile(self, graph: ov.Model) -> CompiledNetwork:
        return CompiledNetwork(self._core.compile_model(graph, "CPU", self._settings))


class BatchedNetwork:
    """One network at a few fixed batch sizes, run on square crops.

    The smallest size is compiled at once, the others on first use, so that a restarted worker is ready soon.
    """

    def __init__(self, sizes: Sequence[int], build: Callable[[int], CompiledNetwork]) -> None:
        self._sizes = sorted(sizes)
        self._build = build
        self._networks = {self._sizes[0]: build(self._sizes[0])}
        self._side_px = self._networks[self._sizes[0]].rgb.shape[1]

    def run(self, picture: Picture, boxes: Floats) -> list[Floats]:
        """Returns the outputs of the network, one row per box; expects at least one box."""
        step = self._sizes[-1]
        parts = [self._run_batch(picture, boxes[start : start + step]) for start in range(0, len(boxes), step)]
        return [np.concatenate(rows) for rows in zip(*parts, strict=True)]

    def _run_batch(self, picture: Picture, boxes: Floats) -> list[Floats]:
        size = next(size for size in self._sizes if size >= len(boxes))
        if size not in self._networks:
            self._networks[size] = self._build(size)
        network = self._networks[size]
        network.rgb[: len(boxes)] = sample_crops(picture, boxes, self._side_px)
        return [rows[: len(boxes)].copy() for rows in network.run()]


def sample_crops(picture: Picture, boxes: Floats, side_px: int) -> Picture:
    """Returns bilinear crops, uint8 (n, side, side, 3): box corners on corner pixels, mid-grey outside the picture.

    The sampling grid is that of the reference (TensorFlow's crop_and_resize on coordinates divided by the sides).
    """
    height, width = picture.shape[:2]
    steps = np.arange(side_px, dtype=np.float32) / np.float32(side_px - 1)
    shrink = np.array([(width - 1) / width, (height - 1) / height] * 2, dtype=np.float32)
    left, top, right, bottom = (boxes * shrink).T[:, :, None]
    across, down = left + (right - left) * steps, top + (bottom - top) * steps
    shape = (len(boxes), side_px, side_px)
    map_x = np.broadcast_to(across[:, None, :], shape).reshape(-1, side_px)
    map_y = np.broadcast_to(down[:, :, None], shape).reshape(-1, side_px)
    sampled = cv2.remap(picture, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=GREY)
    return sampled.reshape(*shape, 3).astype(np.uint8, copy=False)


def downscale(rgb: Picture, size: tuple[int, int]) -> Picture:
    """Returns the picture averaged by area to `size`, (width, height)."""
    return cv2.resize(rgb, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def apply_offsets(boxes: Floats, offsets: Floats) -> Floats:
    """Returns the boxes moved by offsets in fractions of the sides, which the reference counts inclusively."""
    sizes = boxes[:, 2:] - boxes[:, :2] + 1
    moved: Floats = boxes + offsets * np.concatenate([sizes, sizes], axis=1)
    return moved


def _odd_edges(canvas: Picture, level: image_pyramid.PyramidLevel) -> list[tuple[Picture, Picture]]:
    """Returns (beyond, last) lines of the canvas for each odd side of a level.

    On its own, a level of odd side ends in a half-empty pooling window; on the canvas that window covers one line
    beyond the level. Repeating the last line of the level there keeps the maximum unchanged.
    """
    rows, columns = slice(level.top, level.bottom), slice(level.left, level.right)
    edges = []
    if level.width % 2:
        edges.append((canvas[rows, level.right], canvas[rows, level.right - 1]))
    if level.height % 2:
        edges.append((canvas[level.bottom, columns], canvas[level.bottom - 1, columns]))
    return edges


class ProposalStage:
    """P-Net over all pyramid levels of one size of the working copy, in one run."""

    def __init__(
        self, levels: Sequence[image_pyramid.PyramidLevel], network: CompiledNetwork, config: MtcnnConfig
    ) -> None:
        self._levels, self._network, self._config = levels, network, config
        canvas = network.rgb[0]
        self._views = [canvas[level.top : level.bottom, level.left : level.right] for level in levels]
        self._edges = [edge for level in levels for edge in _odd_edges(canvas, level)]
        rows, columns = network.run()[0].shape[1:3]
        self._owner = image_pyramid.cell_levels(levels, rows, columns).reshape(-1)
        self._columns = columns
        self._min_log_odds = math.log(config.pnet_threshold / (1 - config.pnet_threshold))
        self._corners = np.array([(level.left, level.top) for level in levels], dtype=np.float32)
        self._scales = np.array([[level.scale] for level in levels], dtype=np.float32)

    def propose(self, picture: Picture) -> Candidates:
        """Returns at most `max_proposals` candidates, not yet square."""
        self._draw(picture)
        cells = self._network.run()[0].reshape(-1, 5)
        log_odds = cells[:, 0]
        chosen = np.flatnonzero((log_odds > self._min_log_odds) & (self._owner >= 0))
        chosen = chosen[np.argsort(-log_odds[chosen], kind="stable")[: self._config.max_cells]]
        owner = self._owner[chosen]
        confidence = (1 / (1 + np.exp(-log_odds[chosen]))).astype(np.float32)
        found = Candidates(self._boxes(chosen, owner, cells[chosen, 1:]), confidence)
        return self._without_duplicates(found, owner)

    def _draw(self, picture: Picture) -> None:
        """Resizes the picture to all levels on the canvas."""
        halves = [picture]
        for view, level in zip(self._views, self._levels, strict=True):
            count, bilinear = image_pyramid.source_halvings(level.scale)
            while len(halves) <= count:
                height, width = halves[-1].shape[:2]
                halves.append(downscale(halves[-1], (width // 2, height // 2)))
            method = cv2.INTER_LINEAR if bilinear else cv2.INTER_AREA
            cv2.resize(halves[count], (level.width, level.height), dst=view, interpolation=method)
        for beyond, last in self._edges:
            beyond[:] = last

    def _boxes(self, cells: NDArray[np.intp], owner: NDArray[np.int8], offsets: Floats) -> Floats:
        row, column = np.divmod(cells, self._columns)
        # The published offsets are relative to the square from the second pixel of a cell to its end.
        side = image_pyramid.CELL_PX - 1
        corner = np.stack([column, row], axis=1) * image_pyramid.STRIDE_PX - self._corners[owner] + 1
        square = np.concatenate([corner, corner + side], axis=1)
        boxes: Floats = ((square + offsets * side) / self._scales[owner]).astype(np.float32)
        return boxes

    def _without_duplicates(self, found: Candidates, owner: NDArray[np.int8]) -> Candidates:
        """Suppresses overlaps within each level (IoU above .5), then across levels (above .7)."""
        overlap = geometry.pairwise_iou(found.boxes, found.boxes)
        rows = geometry.suppress_overlaps((overlap > 0.5) & (owner[:, None] == owner[None, :]))
        rows = rows[geometry.suppress_overlaps(overlap[np.ix_(rows, rows)] > 0.7)]
        return found.take(rows[: self._config.max_proposals])
