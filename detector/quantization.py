"""Eight-bit kernels and activations for the pointwise convolutions, where Xception spends its time.

After training, symmetric, kernels per output channel and activations per layer. No activation function lies between a
depthwise convolution and the pointwise one behind it, so the scale of every channel can move from the one to the other:
it is split between them as in SmoothQuant (Xiao et al. 2023, arXiv 2211.10438). The depthwise output of a quantized
layer is scaled so that -1..1 is its range; `LAYER|pointwise_kernel` is int8 there and `LAYER|pointwise_scale` float32
(out,) turns it back. No I/O.
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
# Of a channel's range, the part that the activations give up to the kernels. Of .5, .75 and 1 this changed the logits
# least on real calls; all three did the same on crops like those that the ranges were measured on.
_SHARE = 0.5
_LEAST = 1e-3


def quantize(arrays: Arrays, ranges: Mapping[str, Floats]) -> dict[str, NDArray[Any]]:
    """The same network with the layers of `ranges` in eight bits.

    `ranges` holds, by layer, float32 (channels,): how far from 0 each channel of its depthwise output goes.
    """
    changed: dict[str, NDArray[Any]] = {}
    for name, reach in ranges.items():
        changed |= _quantize_layer(arrays, name, reach)
    return {**arrays, **changed}


def _quantize_layer(arrays: Arrays, name: str, reach: Floats) -> dict[str, NDArray[Any]]:
    depthwise = arrays[f"{name}|depthwise_kernel"].astype(np.float32)
    pointwise = arrays[f"{name}|pointwise_kernel"].astype(np.float32)
    reach, weight = _floored(reach), _floored(np.abs(pointwise).max(axis=(0, 2, 3)))
    shift = reach**_SHARE / weight ** (1 - _SHARE)
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
    """A channel that was silent while the ranges were measured may not be later."""
    least = max(float(values.max()) * _LEAST, 1e-30)
    floored: Floats = np.maximum(values, np.float32(least))
    return floored


def read_kernel(arrays: Arrays, name: str, part: str) -> Floats:
    """`LAYER|PART` as float32, whether it is stored as floats or in eight bits. Raises KeyError where it is absent."""
    kernel = np.asarray(arrays[f"{name}|{part}"]).astype(np.float32)
    if arrays[f"{name}|{part}"].dtype != np.int8:
        return kernel
    scale: Floats = arrays[f"{name}|pointwise_scale"]
    return kernel * scale[:, None, None, None]
