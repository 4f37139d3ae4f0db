"""Logits of samples, computed with the serving graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from detector.config import Precision
from detector.openvino_scorer import compile_for_cpu
from detector.xception_openvino import build_graph

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

_BATCH = 8


def compute_logits(
    arrays: Mapping[str, NDArray[Any]],
    rgb: NDArray[np.uint8],
    rows: NDArray[np.intp],
    progress: Callable[[float], None] = lambda share: None,
) -> NDArray[np.float32]:
    """Returns the logits, float32 (rows,), of these rows of `rgb`, uint8 (n, 224, 224, 3).

    Raises InvalidArrayFile for arrays that do not fit the network.
    """
    request = compile_for_cpu(build_graph(arrays), 2, Precision.AUTO).create_infer_request()
    logits = np.zeros(len(rows), np.float32)
    for start in range(0, len(rows), _BATCH):
        part = slice(start, start + _BATCH)
        request.infer([np.ascontiguousarray(rgb[rows[part]])])
        logits[part] = request.get_output_tensor(0).data
        progress(start / len(rows))
    return logits
