"""Phase `deep` on a few small pictures: trained and frozen layers, checkpoints, and agreement with OpenVINO."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from detector.config import Precision
from detector.errors import TrainingRefused
from detector.openvino_scorer import compile_for_cpu
from detector.training.data.batches import PairBatches
from detector.training.data.samples import SAMPLE_ROW, SampleSet
from detector.training.phases import deep_model
from detector.training.phases.training_loop import TrainingSchedule, fit, read_losses, refuse_collapsed
from detector.xception_openvino import build_graph
from tests.detector.pictures import portrait, released_weights
from tests.detector.training_data import eagerly

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    Weights = dict[str, NDArray[Any]]

# Keras names; the shortcuts of blocks 2 and 3 have running numbers instead.
FROZEN = ("block1_", "block2_", "block3_")
FROZEN_SHORTCUTS = {"conv2d", "conv2d_1", "batch_normalization", "batch_normalization_1"}
STATISTICS = ("moving_mean", "moving_variance")


@pytest.fixture
def no_graphs() -> Iterator[None]:
    with eagerly():
        yield


@pytest.fixture(scope="module")
def batches() -> PairBatches:
    """Batches of two pairs of 64 px: drawn faces, darker in the fake half."""
    rgb = np.repeat(np.stack([portrait(seed, 224).rgb for seed in range(4)]), 2, axis=0)
    masks = np.zeros((8, 14, 14), np.uint8)
    rgb[1::2, 56:168, 56:168] //= 2
    masks[1::2, 4:10, 4:10] = 254
    rows = np.zeros(8, SAMPLE_ROW)
    rows["group"] = np.repeat(["a", "b", "c", "d"], 2)
    return PairBatches([deep_model.PicturePairs(SampleSet(rgb, rows, masks), np.arange(4), 64)], 2, seed=0)


@pytest.fixture(scope="module")
def weights() -> Weights:
    kernel = np.random.default_rng(1).normal(0, 0.2, (2048, 1)).astype(np.float32)
    return {**released_weights(), "head|kernel": kernel, "head|bias": np.array([0.3], np.float32)}


def changed(before: Weights, after: Weights) -> set[str]:
    return {name for name, array in before.items() if not np.array_equal(after[name], array)}


def distance(one: Weights, other: Weights) -> float:
    """Of all trained weights that both know; statistics are gathered, not trained."""
    known = [name for name in one if name in other and not name.endswith(STATISTICS)]
    return float(np.linalg.norm([np.linalg.norm(one[name] - other[name]) for name in known]))


def is_frozen(name: str) -> bool:
    layer = name.split("|")[0]
    return layer.startswith(FROZEN) or layer in FROZEN_SHORTCUTS


class Killed(Exception):
    """Stands for a killed process."""


@pytest.mark.usefixtures("no_graphs")
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_an_interrupted_run_resumes_with_the_same_losses_and_trains_blocks_4_to_14(
    batches: PairBatches, weights: Weights, tmp_path: Path
) -> None:
    schedule, types = TrainingSchedule(3, seed=4, mask_weight=0.5, save_every=1), set()

    def build() -> Any:
        model = deep_model.build_network(weights)
        types.add((model.get_layer("block4_sepconv1").compute_dtype, model.get_layer("head").compute_dtype))
        return model

    def killed_at(step: int) -> Callable[[float], None]:
        def progress(share: float) -> None:
            if round(share * schedule.steps) == step:
                raise Killed

        return progress

    whole = deep_model.weights_of(fit(build, batches.batch, schedule, killed_at(99), tmp_path / "whole.npz"))
    with pytest.raises(Killed):
        fit(build, batches.batch, schedule, killed_at(2), tmp_path / "cut.npz")
    assert len(read_losses(tmp_path / "cut.npz")) == 2
    resumed = deep_model.weights_of(fit(build, batches.batch, schedule, killed_at(99), tmp_path / "cut.npz"))
    assert read_losses(tmp_path / "cut.npz") == pytest.approx(read_losses(tmp_path / "whole.npz"), rel=1e-3)
    assert len(set(read_losses(tmp_path / "whole.npz"))) == 3
    apart, moved = (distance(whole, other) for other in (resumed, weights))
    assert apart < 0.3 * moved, "Adam's memory and the moving average go on, too: without them they are 1.1 apart"
    assert types == {("bfloat16", "float32")}
    assert changed(weights, whole) == {name for name in weights if not is_frozen(name)}


@pytest.mark.usefixtures("no_graphs")
@pytest.mark.slow
@pytest.mark.timeout(120)
def test_statistics_are_gathered_again_and_openvino_agrees_with_keras(
    batches: PairBatches, weights: Weights
) -> None:
    import keras

    keras.backend.clear_session()
    model = deep_model.build_network(weights)
    deep_model.gather_statistics(model, [batches.batch(1).inputs])
    after = deep_model.weights_of(model)
    expected = {name for name in weights if name.endswith(STATISTICS) and not is_frozen(name)}
    assert changed(weights, after) == expected

    crops = np.stack([portrait(seed, 224).rgb for seed in range(3)])
    logits = model(crops, training=False)["head"].numpy()[:, 0]
    graph = build_graph(deep_model.to_serving_arrays(after))
    assert logits.std() > 0.1
    assert np.abs(compile_for_cpu(graph, 1, Precision.FLOAT32)([crops])[0] - logits).max() <= 1e-2


@pytest.mark.usefixtures("no_graphs")
@pytest.mark.slow
@pytest.mark.timeout(120)
def test_an_average_lies_between_both_networks_and_has_statistics_of_its_own(
    batches: PairBatches, weights: Weights
) -> None:
    rng = np.random.default_rng(2)
    other = {
        name: array if is_frozen(name) else array + rng.normal(0, 0.01, array.shape).astype(np.float32)
        for name, array in weights.items()
    }
    # Statistics that no batch has: an average of both would differ from gathered statistics.
    other |= {name: array + 7 for name, array in other.items() if name.endswith(STATISTICS) and not is_frozen(name)}
    shown = [batches.batch(1).inputs] * 40
    mixed = deep_model.average(weights, other, 0.25, shown)
    for name, array in weights.items():
        if not name.endswith(STATISTICS):
            expected = 0.75 * array + 0.25 * other[name]
            np.testing.assert_allclose(mixed[name], expected, rtol=0, atol=1e-6, err_msg=name)
        elif is_frozen(name):
            assert np.array_equal(mixed[name], array)
    again = deep_model.average(weights, other, 0.25, shown[:1] * 80)
    first = "block4_sepconv1_bn|moving_mean"
    assert mixed[first] == pytest.approx(again[first], abs=0.15)
    assert np.abs(mixed[first] - (0.75 * weights[first] + 0.25 * other[first])).mean() > 1


@pytest.mark.usefixtures("no_graphs")
@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_stage_that_ends_with_a_collapsed_network_is_refused(batches: PairBatches, weights: Weights) -> None:
    silent = {**weights, "head|kernel": np.zeros((2048, 1), np.float32)}
    with pytest.raises(TrainingRefused, match="collapsed"):
        deep_model.train_stage(silent, batches, TrainingSchedule(1, 0, 0.5, rate=1e-9), lambda share: None)


def test_a_network_with_constant_logits_is_refused() -> None:
    refuse_collapsed(np.array([0.1, -0.1]))
    with pytest.raises(TrainingRefused, match="collapsed"):
        refuse_collapsed(np.full((8, 1), 3.0))
