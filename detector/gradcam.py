"""Grad-CAM heat maps, computed in the forward pass. Pure.

Behind the last feature map come global average pooling and one dense unit, so the gradient of the logit is constant
over each channel. Grad-CAM (Selvaraju et al. 2017) is then the dense unit applied to every cell: the evidence map that
`detector.xception_openvino` returns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

LAYER_NAME = "block14_sepconv2_act"


def heat_maps(evidence: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns float32 (n, s, s) in 0..1: the positive part of each evidence map, divided by its maximum.

    A map without positive evidence is 0 throughout. `evidence` is float32 (n, s, s), in units of the logit.
    """
    positive = np.maximum(evidence, 0)
    peak = positive.max(axis=(1, 2), keepdims=True)
    maps: NDArray[np.float32] = np.divide(positive, peak, out=np.zeros_like(positive), where=peak > 0)
    return maps
