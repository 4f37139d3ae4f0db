"""Activation ranges on real crops, quantization by them, and its effect on the logits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from detector.config import Precision
from detector.openvino_scorer import compile_for_cpu
from detector.quantization import quantize
from detector.training.checkpoints.serving_inference import compute_logits
from detector.xception_keras import convolution_names
from detector.xception_openvino import GraphOutput, build_graph

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]
    Pixels = NDArray[np.uint8]
    Progress = Callable[[str, float], None]

_CROPS = 256
_CHECKED_PART = 4
# Share of crops whose range a channel must cover; values beyond it are clipped, since outliers would coarsen the rest.
_COVERED = 0.98


def quantize_for_serving(
    arrays: Arrays, rgb: Pixels, seed: int, progress: Progress
) -> tuple[dict[str, NDArray[Any]], float]:
    """Returns `arrays` in eight bits, and the mean absolute change of the logit on other crops (NaN without any).

    `rgb` is uint8 (n, 224, 224, 3) RGB, training crops of which 256 are drawn: three quarters for the ranges.
    """
    drawn = np.random.default_rng(seed).permutation(len(rgb))[:_CROPS]
    rows, checked = np.split(drawn, [len(drawn) - len(drawn) // _CHECKED_PART])
    served = quantize(arrays, _ranges(arrays, rgb, rows, progress))
    if not len(checked):
        return served, float("nan")
    before, after = (compute_logits(network, rgb, checked) for network in (arrays, served))
    return served, float(np.abs(after - before).mean())


def _ranges(arrays: Arrays, rgb: Pixels, rows: NDArray[np.intp], progress: Progress) -> dict[str, NDArray[np.float32]]:
    request = compile_for_cpu(build_graph(arrays, GraphOutput.RANGES), 2, Precision.FLOAT32).create_infer_request()
    names = [ours for ours, _, _ in convolution_names() if "sepconv" in ours]
    reached: dict[str, list[NDArray[np.float32]]] = {name: [] for name in names}
    for index, row in enumerate(rows):
        progress("ranges", index / len(rows))
        request.infer([np.ascontiguousarray(rgb[row : row + 1])])
        for output, name in enumerate(names):
            reached[name].append(request.get_output_tensor(output).data[0].copy())
    return {name: np.quantile(values, _COVERED, axis=0).astype(np.float32) for name, values in reached.items()}
