"""The three networks of MTCNN as OpenVINO graphs, built from a file of plain arrays with a known SHA-256.

P-, R- and O-Net after Zhang et al., "Joint Face Detection and Alignment using Multi-task Cascaded Convolutional
Networks" (2016). All inputs are uint8 NHWC, RGB; the normalisation (x - 127.5) / 128 is part of the graph.
"""

from __future__ import annotations

import hashlib
import io
import json
from typing import TYPE_CHECKING

import numpy as np

from detector.errors import WeightsRefused
from detector.openvino_runtime import ops, ov

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[np.float32]]

RNET_INPUT_PX = 24
ONET_INPUT_PX = 48


def load_weights(folder: Path) -> Arrays:
    """Returns the arrays of `mtcnn.npz`, named as in `detector.training.checkpoints.convert_mtcnn`.

    Raises WeightsRefused where the file is missing or its SHA-256 is not the one in `mtcnn.json`.
    """
    try:
        entry = json.loads((folder / "mtcnn.json").read_text(encoding="utf-8"))
        data = (folder / "mtcnn.npz").read_bytes()
        expected = str(entry["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsRefused(f"MTCNN weights cannot be read: {error}") from error
    digest = hashlib.sha256(data).hexdigest()
    if digest != expected:
        raise WeightsRefused(f"mtcnn.npz: expected sha256 {expected}, got {digest}")
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError) as error:
        raise WeightsRefused(f"mtcnn.npz is not an array file: {error}") from error


class _Layers:
    """Appends the layers of one network to a graph. Nodes are channels-first (NCHW)."""

    def __init__(self, weights: Arrays, net: str) -> None:
        self._weights = weights
        self._net = net

    def _array(self, name: str) -> NDArray[np.float32]:
        try:
            return self._weights[f"{self._net}.{name}"]
        except KeyError as error:
            raise WeightsRefused(f"mtcnn.npz lacks {self._net}.{name}") from error

    def picture(self, shape: list[int]) -> tuple[ov.op.Parameter, ov.Node]:
        """Returns the uint8 NHWC input and its normalised NCHW form."""
        source = ops.parameter(shape, ov.Type.u8, name="rgb")
        wide = ops.convert(source, "f32")
        centred = ops.multiply(ops.subtract(wide, np.float32(127.5)), np.float32(1 / 128))
        return source, ops.transpose(centred, np.array([0, 3, 1, 2]))

    def conv(self, node: ov.Node, layer: str) -> ov.Node:
        node = _convolved(node, self._array(f"{layer}.kernel"), self._array(f"{layer}.bias"))
        return ops.prelu(node, self._array(f"{layer}.slope"))

    def cells(self, node: ov.Node) -> ov.Node:
        """Appends both heads of P-Net as one convolution: log-odds of a face, then four box offsets."""
        parts = []
        for part in ("kernel", "bias"):
            face = self._array(f"face.{part}")
            parts.append(np.concatenate([face[1:] - face[:1], self._array(f"box.{part}")]))
        return _convolved(node, *parts)

    def dense(self, node: ov.Node, layer: str, *, prelu: bool = False) -> ov.Node:
        node = ops.matmul(node, self._array(f"{layer}.kernel"), transpose_a=False, transpose_b=True)
        node = ops.add(node, self._array(f"{layer}.bias").reshape(1, -1))
        return ops.prelu(node, self._array(f"{layer}.slope")) if prelu else node


def _convolved(node: ov.Node, kernel: NDArray[np.float32], bias: NDArray[np.float32]) -> ov.Node:
    node = ops.convolution(node, kernel, [1, 1], [0, 0], [0, 0], [1, 1])
    return ops.add(node, bias.reshape(1, -1, 1, 1))


def _pool(node: ov.Node, kernel: int, *, keep_edge: bool) -> ov.Node:
    """Appends max pooling with stride 2; `keep_edge` keeps the last, partly filled window (TensorFlow's "same").

    For all inputs here "same" pads by at most one, at the end only, which is the ceil rounding of OpenVINO.
    """
    rounding = "ceil" if keep_edge else "floor"
    return ops.max_pool(node, [2, 2], [1, 1], [0, 0], [0, 0], [kernel, kernel], rounding).output(0)


def _flat(node: ov.Node) -> ov.Node:
    return ops.reshape(node, np.array([0, -1]), special_zero=True)


def pnet(weights: Arrays, height_px: int, width_px: int) -> ov.Model:
    """Builds P-Net: (1, h, w, 3) -> (1, h', w', 5), log-odds of a face, then four box offsets; one cell per 2 px.

    The published softmax over two outputs equals the sigmoid of their difference, so one convolution gives all five.
    """
    layers = _Layers(weights, "pnet")
    source, node = layers.picture([1, height_px, width_px, 3])
    node = _pool(layers.conv(node, "conv1"), 2, keep_edge=True)
    node = layers.conv(layers.conv(node, "conv2"), "conv3")
    return ov.Model([ops.transpose(layers.cells(node), np.array([0, 2, 3, 1]))], [source], "pnet")


def rnet(weights: Arrays, batch: int) -> ov.Model:
    """Builds R-Net: (n, 24, 24, 3) -> face probability (n, 2), box offsets (n, 4)."""
    layers = _Layers(weights, "rnet")
    source, node = layers.picture([batch, RNET_INPUT_PX, RNET_INPUT_PX, 3])
    node = _pool(layers.conv(node, "conv1"), 3, keep_edge=True)
    node = _pool(layers.conv(node, "conv2"), 3, keep_edge=False)
    node = layers.dense(_flat(layers.conv(node, "conv3")), "fc4", prelu=True)
    face = ops.softmax(layers.dense(node, "face"), 1)
    return ov.Model([face, layers.dense(node, "box")], [source], "rnet")


def onet(weights: Arrays, batch: int) -> ov.Model:
    """Builds O-Net: (n, 48, 48, 3) -> face probability (n, 2), box offsets (n, 4), landmarks (n, 10).

    Landmarks are five x, then five y.
    """
    layers = _Layers(weights, "onet")
    source, node = layers.picture([batch, ONET_INPUT_PX, ONET_INPUT_PX, 3])
    node = _pool(layers.conv(node, "conv1"), 3, keep_edge=True)
    node = _pool(layers.conv(node, "conv2"), 3, keep_edge=False)
    node = _pool(layers.conv(node, "conv3"), 2, keep_edge=True)
    node = layers.dense(_flat(layers.conv(node, "conv4")), "fc5", prelu=True)
    face = ops.softmax(layers.dense(node, "face"), 1)
    return ov.Model([face, layers.dense(node, "box"), layers.dense(node, "landmarks")], [source], "onet")
