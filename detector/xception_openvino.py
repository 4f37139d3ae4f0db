"""Xception as an OpenVINO graph, built from the arrays of a model folder.

The layout is that of Chollet (2017) as Keras releases it, by default for 224 px, with every batch normalisation folded
into the convolution before it. Arrays are named `LAYER|PART` (`detector.xception_keras.convolution_names`). Kernels are
(out, in, rows, columns) or, for depthwise ones, (channels, 1, 1, rows, columns), so that the graph can share their
memory. Layers whose pointwise kernel is int8 are computed in eight bits (`detector.quantization`).
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from detector.errors import InvalidArrayFile
from detector.openvino_runtime import ops, ov
from detector.quantization import LEVELS
from detector.types import NetworkInput, Padding

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

HEAD_KERNEL, HEAD_BIAS = "head|kernel", "head|bias"
FEATURES = 2048
MIDDLE_SHAPE = (14, 14, 728)


class GraphOutput(StrEnum):
    """Outputs of the graph, all float32."""

    SCORES = "scores"  # logits (n,) and evidence maps (n, s, s); mean of a map plus bias of the head = logit
    RANGES = "ranges"  # largest magnitude (n, channels) of every depthwise output, in network order
    FEATURES = "features"  # inputs of block 13 (n, 14, 14, 728) and of the head (n, 2048)


def build_graph(
    arrays: Mapping[str, NDArray[Any]],
    output: GraphOutput = GraphOutput.SCORES,
    int8_activations: bool = True,
    network_input: NetworkInput | None = None,
) -> ov.Model:
    """Builds the network from uint8 (n, 224, 224, 3) RGB, or the size of `network_input`, to `output`.

    With `int8_activations` false all layers compute on float activations. The graph shares the memory of the arrays,
    which must outlive it. Raises InvalidArrayFile where an array is missing or has another shape.
    """
    network_input = network_input or NetworkInput()
    pixels = ops.parameter([-1, network_input.size_px, network_input.size_px, 3], ov.Type.u8, name="rgb")
    try:
        results = _network(_Layers(arrays, int8_activations, network_input.padding), pixels, output)
    except KeyError as missing:
        raise InvalidArrayFile(f"Xception arrays: {missing} is missing") from missing
    except (ValueError, RuntimeError) as error:
        raise InvalidArrayFile(f"Xception arrays do not fit the network: {error}") from error
    return ov.Model(results, [pixels], "xception")


def _network(layers: _Layers, pixels: ov.Node, output: GraphOutput) -> list[ov.Node]:
    middle = _middle(layers, _entry(layers, pixels))
    node = _downsampling_block(layers, middle, 13)
    for name in ("block14_sepconv1", "block14_sepconv2"):
        node = ops.relu(layers.separable(node, name))
    if output is GraphOutput.FEATURES:
        return [ops.transpose(middle, np.array([0, 2, 3, 1])), ops.reduce_mean(node, np.array([2, 3]))]
    if output is GraphOutput.RANGES:
        return [ops.reduce_max(ops.abs(node), np.array([2, 3])) for node in layers.depthwise]
    return _head(layers, node)


def _entry(layers: _Layers, pixels: ov.Node) -> ov.Node:
    node = ops.transpose(ops.convert(pixels, "f32"), np.array([0, 3, 1, 2]))
    node = ops.relu(layers.pixel_convolution(node, "block1_conv1"))
    node = ops.relu(layers.convolution(node, "block1_conv2", stride=1))
    for block in (2, 3, 4):
        node = _downsampling_block(layers, node, block)
    return node


def _downsampling_block(layers: _Layers, node: ov.Node, block: int) -> ov.Node:
    """Appends block 2, 3, 4 or 13: two separable convolutions and a pool of stride 2, beside a strided shortcut."""
    shortcut = layers.convolution(node, f"block{block}_shortcut", stride=2)
    # Block 2 has no activation of its own: its input comes from one.
    node = layers.separable(node if block == 2 else ops.relu(node), f"block{block}_sepconv1")
    node = layers.separable(ops.relu(node), f"block{block}_sepconv2")
    return ops.add(layers.max_pool(node), shortcut)


def _middle(layers: _Layers, node: ov.Node) -> ov.Node:
    for block in range(5, 13):
        shortcut = node
        for layer in (1, 2, 3):
            node = layers.separable(ops.relu(node), f"block{block}_sepconv{layer}")
        node = ops.add(node, shortcut)
    return node


def _head(layers: _Layers, node: ov.Node) -> list[ov.Node]:
    """Appends the head. Pooling and one dense unit commute, so the unit is applied to every cell: the evidence map."""
    kernel = layers.array(HEAD_KERNEL).astype(np.float32).T[:, :, None, None]
    evidence = ops.convolution(node, ops.constant(np.ascontiguousarray(kernel)), [1, 1], [0, 0], [0, 0], [1, 1])
    bias = ops.constant(layers.array(HEAD_BIAS).astype(np.float32))
    logit = ops.add(ops.reduce_mean(evidence, np.array([1, 2, 3])), bias)
    return [logit, ops.squeeze(evidence, np.array([1]))]


class _Layers:
    """Appends layers to a graph. Nodes are (n, channels, rows, columns); `depthwise` collects the depthwise outputs."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]], int8_activations: bool, padding: Padding) -> None:
        self._arrays = arrays
        self._int8_activations = int8_activations
        self._padding = padding
        self.depthwise: list[ov.Node] = []

    def array(self, name: str) -> NDArray[Any]:
        return self._arrays[name]

    def pixel_convolution(self, node: ov.Node, name: str) -> ov.Node:
        """Appends the first layer, on pixels in 0..255; it has no padding, so x / 127.5 - 1 folds into it exactly."""
        kernel = self.array(f"{name}|kernel").astype(np.float32)
        bias = self.array(f"{name}|bias").astype(np.float32) - kernel.sum(axis=(1, 2, 3))
        return _convolve(node, ops.constant(kernel / np.float32(127.5)), bias, stride=2)

    def convolution(self, node: ov.Node, name: str, stride: int) -> ov.Node:
        return _convolve(node, self._kernel(f"{name}|kernel"), self.array(f"{name}|bias"), stride)

    def separable(self, node: ov.Node, name: str) -> ov.Node:
        depthwise = self._kernel(f"{name}|depthwise_kernel")
        node = ops.group_convolution(node, depthwise, [1, 1], [0, 0], [0, 0], [1, 1], "same_upper")
        self.depthwise.append(node)
        if self.array(f"{name}|pointwise_kernel").dtype != np.int8:
            kernel = self._kernel(f"{name}|pointwise_kernel")
        else:
            kernel, node = self._eight_bit_kernel(name), _to_int8(node) if self._int8_activations else node
        return _convolve(node, kernel, self.array(f"{name}|bias"), stride=1)

    def max_pool(self, node: ov.Node) -> ov.Output:
        """Appends max pooling over 3x3 with stride 2."""
        if self._padding is Padding.BOTH:
            return ops.max_pool(node, [2, 2], [1, 1], [1, 1], [1, 1], [3, 3]).output(0)
        return ops.max_pool(node, [2, 2], [1, 1], [0, 0], [0, 0], [3, 3], auto_pad="same_upper").output(0)

    def _eight_bit_kernel(self, name: str) -> ov.Node:
        kernel = ops.convert(ops.constant(self.array(f"{name}|pointwise_kernel"), shared_memory=True), "f32")
        return ops.multiply(kernel, ops.constant(self.array(f"{name}|pointwise_scale")[:, None, None, None]))

    def _kernel(self, name: str) -> ov.Node:
        kernel = self._arrays[name]
        node = ops.constant(kernel, shared_memory=True)
        if kernel.dtype == np.float32:
            return node
        node = ops.convert(node, "f32")
        # Marks the conversion as decompression: without it the plug-in converts every kernel to float32 on loading.
        node.get_rt_info()["decompression_0"] = ""
        return node


def _to_int8(node: ov.Node) -> ov.Node:
    """Appends the quantization to int8, where -127..127 stands for -1..1."""
    low, high = np.float32(-(LEVELS + 1) / LEVELS), np.float32(1)
    return ops.fake_quantize(node, low, high, low, high, 2 * LEVELS + 2)


def _convolve(node: ov.Node, kernel: ov.Node, bias: NDArray[Any], stride: int) -> ov.Node:
    # No padding: the only kernels here are 1x1 and the two unpadded 3x3 of block 1.
    node = ops.convolution(node, kernel, [stride, stride], [0, 0], [0, 0], [1, 1])
    return ops.add(node, ops.constant(bias.astype(np.float32)[None, :, None, None]))
