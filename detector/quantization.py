"""Eight-bit quantization of the pointwise convolutions, where Xception spends its time. Pure.

It happens after training and is symmetric: kernels per output channel, activations per layer. No activation function
lies between a depthwise convolution and the pointwise one behind it, so the scale of each channel can move from one to
the other; it is split as in SmoothQuant (Xiao et al. 2023, arXiv 2211.10438). The depthwise output of a quantized layer
is scaled to the range -1..1. `LAYER|pointwise_kernel` is int8; float32 `LAYER|pointwise_scale` (out,) scales it back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]
    Floats = NDArray[np.float32]

LEVELS = 127
# Exponent by which the range of a channel moves from the activations to the kernels. Of .5, .75 and 1, .5 changes the
# logits least on real calls; on crops like those that the ranges were measured on, all three are alike.
_KERNEL_SHARE = 0.5
# Smallest range of a channel, as a fraction of the largest one of its layer.
_MIN_RELATIVE_RANGE = 1e-3


def quantize(arrays: Arrays, ranges: Mapping[str, Floats]) -> dict[str, NDArray[Any]]:
    """Returns a copy of `arrays` in which the layers named in `ranges` are quantized to int8.

    `ranges` maps a layer to float32 (channels,): the largest magnitude of each channel of its depthwise output.
    """
    changed: dict[str, NDArray[Any]] = {}
    for name, reach in ranges.items():
        changed |= _quantize_layer(arrays, name, reach)
    return {**arrays, **changed}


def _quantize_layer(arrays: Arrays, name: str, reach: Floats) -> dict[str, NDArray[Any]]:
    depthwise = arrays[f"{name}|depthwise_kernel"].astype(np.float32)
    pointwise = arrays[f"{name}|pointwise_kernel"].astype(np.float32)
    reach, weight = _floored(reach), _floored(np.abs(pointwise).max(axis=(0, 2, 3)))
    shift = reach**_KERNEL_SHARE / weight ** (1 - _KERNEL_SHARE)
    shift *= (reach / shift).max()
    pointwise = pointwise * shift[None, :, None, None]
    scale = np.abs(pointwise).max(axis=(1, 2, 3)) / LEVELS
    scale = np.where(scale > 0, scale, 1).astype(np.float32)
    return {
        f"{name}|depthwise_kernel": (depthwise / shift[:, None, None, None, None]).astype(np.float16),
        f"{name}|pointwise_kernel": np.rint(pointwise / scale[:, None, None, None]).astype(np.int8),
        f"{name}|pointwise_scale": scale,
    }


def _floored(values: Floats) -> Floats:
    """Returns the ranges with a lower bound: a channel that is 0 during measurement may not be 0 later."""
    least = max(float(values.max()) * _MIN_RELATIVE_RANGE, 1e-30)
    floored: Floats = np.maximum(values, np.float32(least))
    return floored


def read_kernel(arrays: Arrays, name: str, part: str) -> Floats:
    """Returns `LAYER|PART` as float32, however it is stored. Raises KeyError where it is missing."""
    kernel = np.asarray(arrays[f"{name}|{part}"]).astype(np.float32)
    if arrays[f"{name}|{part}"].dtype != np.int8:
        return kernel
    scale: Floats = arrays[f"{name}|pointwise_scale"]
    return kernel * scale[:, None, None, None]
