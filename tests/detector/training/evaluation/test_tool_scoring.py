"""Evaluation by tool: no clip is scored by a network trained on its tool or its person."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from detector.config import default_weights_dir
from detector.training.config import TrainConfig
from detector.training.evaluation import estimates, loaded_model, model_scoring, tool_scoring
from detector.training.evaluation.corruptions import Transcoding
from detector.training.evaluation.tool_tables import expectation, tool_tables
from detector.types import NetworkInput
from detector.xception_openvino import HEAD_BIAS
from tests.detector.pictures import network_arrays
from tests.detector.training_data import make_folders, make_pairs, make_tool_pairs

ARRAYS = network_arrays(0)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    root = tmp_path_factory.mktemp("tools")
    make_pairs(make_folders(root / "data"), 2)
    make_tool_pairs(root / "data", {"A": 2, "B": 1})
    return TrainConfig(root / "data", root / "data", root / "run", root / "cache", clip_frames=2)


def model(fold_of: dict[str, int], biases: tuple[float, ...]) -> loaded_model.LoadedModel:
    folds = tuple({**ARRAYS, HEAD_BIAS: np.full(1, bias, np.float32)} for bias in biases)
    networks = model_scoring.FoldNetworks(ARRAYS, folds, fold_of, NetworkInput(), ARRAYS)
    return loaded_model.LoadedModel("run", networks, None, {}, unseen=True)


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_every_tool_is_scored_by_the_fold_that_never_saw_it(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimates, "BOOTSTRAPS", 20)
    people = {"A-0": 0, "A-1": 0, "B-0": 1, "somebody-0": 0, "somebody-1": 1}
    found = tool_scoring.measure_tools(model(people, (-100.0, 100.0)), config, (3,), lambda what, share: None)
    assert list(found["conditions"]) == ["as it came", "h264 150 kb/s", "vp8 150 kb/s"]
    for summary in found["conditions"].values():
        rows = {row["tool"]: row for row in summary["tools"]}
        assert {name: row["clips"] for name, row in rows.items()} == {"A": 2, "B": 1, "video_pairs": 2}
        assert rows["A"]["mean_real"] < -50 < 50 < rows["B"]["mean_real"]
        assert summary["together"]["clips"] == 3, "the tool that was tuned on is not among those left out"
        assert summary["worst_order"] <= summary["mean_order"]
    text = "\n".join(tool_tables(found))
    assert text.count("| A | 2 | 2 |") == 3
    assert text.index("What to expect") < text.index("| A |")


def test_a_model_trained_on_the_tools_is_not_evaluated_on_them(config: TrainConfig) -> None:
    shipped = loaded_model.open_model(default_weights_dir())
    trained = replace(shipped, unseen=False, trained={"fit": {"tools": ["A"]}})
    found = tool_scoring.measure_tools(trained, config, (), lambda what, share: None)
    assert found["conditions"] == {}
    assert "never saw" in "\n".join(tool_tables(found))
    older = replace(shipped, unseen=False, trained={"fit": {}})
    faces = tool_scoring.collect_tool_faces(older, config, lambda what, share: None)
    assert {item.clip.tool for item in faces} == {"A", "B"}, "swapped clips that it was trained on are left out"


def test_a_swap_of_another_size_is_scaled_before_and_after_a_codec(config: TrainConfig) -> None:
    shapes = [cv2.imread(str(config.data_dir / f"A-0-{half}.png")).shape for half in ("real", "fake")]
    assert shapes[0] != shapes[1]
    faces = tool_scoring.collect_tool_faces(model({}, ()), config, lambda what, share: None)
    own = [item for item in faces if item.clip.group == "A-0"]
    assert [item.label for item in own] == [0, 1]
    assert own[0].face.rgb.shape == own[1].face.rgb.shape == min(shapes)
    folder = config.cache_dir / "recoded"
    rows = model_scoring.score_recoded(model({}, ()).networks, own, Transcoding("h264", 150), folder)
    assert rows["clip"].tolist() == ["A-0-fake"] * 2
    assert rows["tool"].tolist() == ["A"] * 2


def test_tools_are_grouped_by_the_share_in_the_right_order() -> None:
    tools = [
        {"tool": name, "clips": 9, "order": {"value": value}} for name, value in (("x", 0.9), ("y", 0.75), ("z", 0.5))
    ]
    text = expectation({"tools": tools})
    assert "x (9) are mostly found; fakes of y (9) are sometimes found; fakes of z (9) are not found" in text
