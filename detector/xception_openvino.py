"""Xception as an OpenVINO graph, built straight from the arrays of the artefact.

The layout is that of Chollet (2017) as Keras releases it, by default for 224 px, with every batch normalisation folded
into the convolution before it. Arrays are named `LAYER|PART` (`xception_names`); kernels are (out, in, rows, columns)
or, for depthwise ones, (channels, 1, 1, rows, columns), so that the graph can share their memory. Layers whose
pointwise kernel is int8 are computed in eight bits (`detector.quantization`).
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
    """Where the graph ends. All outputs are float32."""

    SCORES = "scores"  # (n,) logits and (n, s, s) evidence maps, whose mean plus the head's bias is the logit
    RANGES = "ranges"  # of every depthwise output, in network order, (n, channels): its largest magnitude
    FEATURES = "features"  # (n, 14, 14, 728), what block 13 starts from, and (n, 2048), what the head starts from


def build_graph(
    arrays: Mapping[str, NDArray[Any]],
    output: GraphOutput = GraphOutput.SCORES,
    int8_activations: bool = True,
    network_input: NetworkInput | None = None,
) -> ov.Model:
    """The network from uint8 (n, 224, 224, 3) RGB, or what it `takes`, to `cut`.

    `rounds` off: activations in floats in all layers.

    The graph shares the memory of the arrays, which have to outlive it. Raises InvalidArrayFile where one is absent or
    misshapen.
    """
    network_input = network_input or NetworkInput()
    pixels = ops.parameter([-1, network_input.size_px, network_input.size_px, 3], ov.Type.u8, name="rgb")
    try:
        results = _network(_Layers(arrays, int8_activations, network_input.padding), pixels, output)
    except KeyError as missing:
        raise InvalidArrayFile(f"Xception arrays: {missing} is absent") from missing
    except (ValueError, RuntimeError) as error:
        raise InvalidArrayFile(f"Xception arrays do not fit the network: {error}") from error
    return ov.Model(results, [pixels], "xception")


def _network(layers: _Layers, pixels: ov.Node, output: GraphOutput) -> list[ov.Node]:
    middle = _middle(layers, _entry(layers, pixels))
    node = _narrowing(layers, middle, 13)
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
        node = _narrowing(layers, node, block)
    return node


def _narrowing(layers: _Layers, node: ov.Node, block: int) -> ov.Node:
    """Blocks 2, 3, 4 and 13: two separable convolutions and a halving pool, beside a strided shortcut."""
    shortcut = layers.convolution(node, f"block{block}_shortcut", stride=2)
    # Block 2 starts without an activation of its own: its input has just been through one.
    node = layers.separable(node if block == 2 else ops.relu(node), f"block{block}_sepconv1")
    node = layers.separable(ops.relu(node), f"block{block}_sepconv2")
    return ops.add(layers.halved(node), shortcut)


def _middle(layers: _Layers, node: ov.Node) -> ov.Node:
    for block in range(5, 13):
        shortcut = node
        for layer in (1, 2, 3):
            node = layers.separable(ops.relu(node), f"block{block}_sepconv{layer}")
        node = ops.add(node, shortcut)
    return node


def _head(layers: _Layers, node: ov.Node) -> list[ov.Node]:
    """Pooling and one dense unit commute: the unit is applied to every cell first, which gives the evidence map."""
    kernel = layers.array(HEAD_KERNEL).astype(np.float32).T[:, :, None, None]
    evidence = ops.convolution(node, ops.constant(np.ascontiguousarray(kernel)), [1, 1], [0, 0], [0, 0], [1, 1])
    bias = ops.constant(layers.array(HEAD_BIAS).astype(np.float32))
    logit = ops.add(ops.reduce_mean(evidence, np.array([1, 2, 3])), bias)
    return [logit, ops.squeeze(evidence, np.array([1]))]


class _Layers:
    """Makes nodes (n, channels, rows, columns) from the arrays of one layer."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]], int8_activations: bool, padding: Padding) -> None:
        self._arrays = arrays
        self._rounds = int8_activations
        self._padding = padding
        self.depthwise: list[ov.Node] = []

    def array(self, name: str) -> NDArray[Any]:
        return self._arrays[name]

    def pixel_convolution(self, node: ov.Node, name: str) -> ov.Node:
        """The first layer, on pixels in 0..255: it has no padding, so x / 127.5 - 1 folds into it exactly."""
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
            kernel, node = self._eight_bit_kernel(name), _rounded(node) if self._rounds else node
        return _convolve(node, kernel, self.array(f"{name}|bias"), stride=1)

    def halved(self, node: ov.Node) -> ov.Output:
        """The largest of 3x3, at every second place."""
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
        # Marks the conversion as decompression: without it the plug-in unfolds every kernel to float32 on loading.
        node.get_rt_info()["decompression_0"] = ""
        return node


def _rounded(node: ov.Node) -> ov.Node:
    """To int8, of which -127..127 are -1..1."""
    low, high = np.float32(-(LEVELS + 1) / LEVELS), np.float32(1)
    return ops.fake_quantize(node, low, high, low, high, 2 * LEVELS + 2)


def _convolve(node: ov.Node, kernel: ov.Node, bias: NDArray[Any], stride: int) -> ov.Node:
    # Only 1x1 kernels and the two unpadded 3x3 of block 1 pass here, so no padding is right for all of them.
    node = ops.convolution(node, kernel, [stride, stride], [0, 0], [0, 0], [1, 1])
    return ops.add(node, ops.constant(bias.astype(np.float32)[None, :, None, None]))
