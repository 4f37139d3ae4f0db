"""Quantization: the same network up to rounding errors, and small rounding errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from detector.config import Precision
from detector.face_crop import crop_face
from detector.openvino_scorer import compile_for_cpu
from detector.quantization import LEVELS, quantize, read_kernel
from detector.training.checkpoints.activation_ranges import quantize_for_serving
from detector.xception_openvino import GraphOutput, build_graph
from tests.detector.pictures import network_arrays, portrait

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

LAYER = "block7_sepconv2"


@pytest.fixture(scope="module")
def pixels() -> NDArray[np.uint8]:
    return np.stack([crop_face(face.rgb, face.face).rgb for face in map(portrait, range(12))])


def reach(arrays: dict[str, NDArray[Any]], spread: float = 1.0) -> NDArray[np.float32]:
    """Ranges of one layer that differ by channel."""
    channels = len(arrays[f"{LAYER}|depthwise_kernel"])
    return np.exp(np.random.default_rng(3).normal(0, spread, channels)).astype(np.float32)


def test_the_product_of_both_kernels_is_unchanged() -> None:
    arrays = network_arrays()
    served = quantize(arrays, {LAYER: reach(arrays)})
    assert served[f"{LAYER}|pointwise_kernel"].dtype == np.int8
    products = [
        read_kernel(a, LAYER, "pointwise_kernel")[:, :, 0, 0] * read_kernel(a, LAYER, "depthwise_kernel")[:, 0, 0, 1, 1]
        for a in (arrays, served)
    ]
    gap = np.abs(products[1] - products[0])
    step = served[f"{LAYER}|pointwise_scale"][:, None] * np.abs(served[f"{LAYER}|depthwise_kernel"][:, 0, 0, 1, 1])
    assert (gap <= 0.51 * step + 1e-3 * np.abs(products[0])).all()
    untouched = set(arrays) - {f"{LAYER}|{part}" for part in ("depthwise_kernel", "pointwise_kernel")}
    assert all(served[name] is arrays[name] for name in untouched)


def test_scaled_channels_stay_within_the_measured_range() -> None:
    arrays = network_arrays()
    reached = reach(arrays)
    served = quantize(arrays, {LAYER: reached})
    before, after = (a[f"{LAYER}|depthwise_kernel"].astype(np.float32) for a in (arrays, served))
    # What a channel reaches shrinks as its kernel does.
    downscale = reached * (np.abs(after).max(axis=(1, 2, 3, 4)) / np.abs(before).max(axis=(1, 2, 3, 4)))
    assert downscale.max() == pytest.approx(1, rel=0.01)


def test_a_channel_of_range_zero_is_not_amplified() -> None:
    arrays = network_arrays()
    reached = reach(arrays)
    reached[:5] = 0
    served = quantize(arrays, {LAYER: reached})
    assert all(np.isfinite(served[f"{LAYER}|{part}"]).all() for part in ("depthwise_kernel", "pointwise_scale"))
    assert np.abs(served[f"{LAYER}|pointwise_kernel"].astype(int)).max() == LEVELS


def test_ranges_are_those_of_every_depthwise_output(pixels: NDArray[np.uint8]) -> None:
    answers = compile_for_cpu(build_graph(network_arrays(), GraphOutput.RANGES), 1, Precision.FLOAT32)([pixels[:2]])
    assert len(answers) == 34
    assert [answers[index].shape for index in (0, 10, 33)] == [(2, 64), (2, 728), (2, 1536)]
    assert all((answers[index] >= 0).all() for index in range(34))


def test_the_eight_bit_network_gives_nearly_the_same_logits(pixels: NDArray[np.uint8]) -> None:
    arrays = network_arrays()
    served, rounding = quantize_for_serving(arrays, pixels, 0, lambda what, share: None)
    assert sum(name.endswith("pointwise_scale") for name in served) == 34

    def logits(network: Any, precision: Precision) -> NDArray[np.float32]:
        graph = build_graph(network, int8_activations=precision is not Precision.FLOAT32)
        return np.array(compile_for_cpu(graph, 1, precision)([pixels])[0])

    exact = logits(arrays, Precision.FLOAT32)
    size = np.abs(exact).max()
    assert 0 < np.abs(logits(served, Precision.FLOAT32) - exact).max() < 0.05 * size
    assert 0 < np.abs(logits(served, Precision.AUTO) - exact).max() < 0.15 * size
    assert 0 < rounding < 0.1 * size, "on the three crops that were left for it"
