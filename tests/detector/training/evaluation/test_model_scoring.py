"""`deepguard calibrate` and `deepguard evaluate` on an imported model, with data of a few portraits."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from typer.testing import CliRunner

from api.cli.main import app
from detector.config import DetectorConfig, default_weights_dir
from detector.errors import TrainingRefused, WeightsRefused
from detector.face_crop import crop_face
from detector.factory import build_finder, build_scorer
from detector.fusion import Calibration
from detector.model_artifact import read_manifest, write_manifest
from detector.training.checkpoints.export import REPORT_FILE
from detector.training.config import TrainConfig
from detector.training.data import datasets
from detector.training.evaluation import (
    corruptions,
    estimates,
    loaded_model,
    model_scoring,
    sampled_clips,
    window_scoring,
)
from detector.training.evaluation.window_verdicts import ALL, Floats
from detector.types import EvidenceStats, NetworkInput
from detector.xception_openvino import HEAD_BIAS
from tests.detector.pictures import MEDIA, network_arrays, write_artefact
from tests.detector.training_data import make_folders, make_pairs

if TYPE_CHECKING:
    from pathlib import Path

EVIDENCE = EvidenceStats(
    mean_real=-1.0, mean_fake=1.0, sd=1.4, correlation_s=0.72, detectable=1.0, real_middle=-1.0, fake_low=1.0
)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Data of four swapped clips and ten people, and an imported model with random weights."""
    root = tmp_path_factory.mktemp("trial")
    make_pairs(make_folders(root / "data"), 4)
    (root / "model").mkdir()
    manifest = write_artefact(root / "model")
    write_manifest(root / "model", replace(manifest, calibration=None, frequency=None, trained={"imported": {}}))
    return {name: root / name for name in ("data", "model", "cache", "out")}


def command(name: str, places: dict[str, Path], *options: str) -> str:
    done = CliRunner().invoke(app, [
        name, str(places["model"]), str(places["data"]), "--cache-dir", str(places["cache"]), "--frames", "2", *options,
    ])  # fmt: skip
    assert done.exit_code == 0, done.output
    return done.output


def config_of(places: dict[str, Path]) -> TrainConfig:
    return TrainConfig(places["data"], places["data"], run_dir=places["out"], cache_dir=places["cache"])


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_model_is_calibrated_and_evaluated(places: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimates, "BOOTSTRAPS", 20)
    monkeypatch.setattr(corruptions, "BITRATES_KBPS", (150,))
    assert not read_manifest(places["model"]).info.is_calibrated
    assert "is calibrated" in command("calibrate", places, "--pairs", "8")
    manifest = read_manifest(places["model"])
    assert manifest.info.is_calibrated
    calibrated = manifest.trained["calibrated"]
    assert set(calibrated["delta_nats"]) == {"frequency", "contrast", "quality"}
    assert manifest.evidence is None, "there is no real footage here to measure it on"

    write_manifest(places["model"], replace(manifest, evidence=EVIDENCE))
    card = places["out"] / "CARD.md"
    command("evaluate", places, "--out", str(places["out"]), "--card", str(card), "--levels", "3", "--pairs", "6")
    results = json.loads((places["out"] / "results.json").read_text())
    assert set(results["footage"]) == {"network", "random head", "softness", "contrast"}
    assert {"as it came", "blur 3", "beauty 3", "h264 150 kb/s", "vp8 150 kb/s"} <= set(results["conditions"])
    assert results["families"]
    assert results["looks"] == {}, "two frames of a clip are no track"
    assert results["false_positives"]["as it came"]["clips"] == 4
    assert results["footage"]["network"]["groups"] == 4
    assert (places["out"] / "conditions.png").stat().st_size > 1000
    rules = results["windows"]["rules"]
    assert set(rules) == {"live calls", "files"}
    for judged in rules.values():
        assert list(judged["conditions"]) == [ALL, *results["conditions"]]
        came = judged["conditions"]["as it came"]
        assert came["real"]["clips"] == came["fake"]["windows"] == 4
        assert judged["sizes"]["64 to 96 px"]["windows"] == 8
    report = (places["out"] / "report.md").read_text()
    assert report.index("| h264 150 kb/s | 4 | 4 |") < report.index("| files | 64 to 96 px | 8 |")
    text = card.read_text()
    assert text.count(manifest.sha256) == 1
    assert text.index("## Limits") < text.index("## What it is")


def test_the_card_of_a_run_needs_the_manifest_of_its_export(tmp_path: Path) -> None:
    (tmp_path / REPORT_FILE).write_text("{}")
    card, shipped = default_weights_dir() / "MODEL_CARD.md", read_manifest(default_weights_dir())
    assert loaded_model.read_card_manifest(tmp_path, card, shipped.sha256) == shipped
    with pytest.raises(TrainingRefused, match="was not made by"):
        loaded_model.read_card_manifest(tmp_path, card, "0" * 64)
    with pytest.raises(WeightsRefused):
        loaded_model.read_card_manifest(tmp_path, tmp_path / "CARD.md", shipped.sha256)


def test_windows_are_scored_by_the_fold_that_did_not_see_them(places: dict[str, Path]) -> None:
    arrays = network_arrays(0)
    folds = tuple({**arrays, HEAD_BIAS: np.full(1, bias, np.float32)} for bias in (-50.0, 50.0))
    fold_of = {f"somebody-{number}": number % 2 for number in range(4)}
    networks = model_scoring.FoldNetworks(arrays, folds, fold_of, NetworkInput(), arrays)
    calibration = Calibration(0.0, 1.0, limit=99.0)
    model = loaded_model.LoadedModel("folds", networks, calibration, {}, unseen=True, evidence=EVIDENCE)
    config = replace(config_of(places), exclude_groups=frozenset({"pair-3"}))
    heard: list[tuple[float, float]] = []

    def rule(_times_s: Floats, llr: Floats, weights: Floats) -> str:
        heard.append((llr[0], weights[0]))
        return "FAKE" if llr.mean() > 0 else "REAL"

    plan = window_scoring.WindowPlan({"test": rule})
    found = window_scoring.measure_windows(model, config, (), plan, lambda _step, _share: None)["rules"]["test"]
    for half in found["conditions"]["as it came"].values():
        assert (half["windows"], half["fake"]["value"], half["alarmed"]) == (3, 1 / 3, 1)
    assert found["sizes"]["under 64 px"]["clips"] == 3
    assert found["of_most"] == "FAKE"
    real, real_whole, fake, _ = heard[:4]
    assert real == real_whole
    assert real[0] != fake[0], "one half was judged for the other"
    assert min(weight for _, weight in heard) == 0.0 < real[1] < 1.0, "as the service weighs small faces"


def test_window_llrs_equal_those_of_the_service(tmp_path: Path) -> None:
    calibration = Calibration(0.1, 0.5, frequency_weight=0.7, gain=0.8)
    write_manifest(tmp_path, replace(write_artefact(tmp_path), calibration=calibration))
    rgb = datasets.read_rgb(MEDIA / "biden.jpg")
    face = build_finder(DetectorConfig()).find(rgb)[0]
    clip = datasets.Clip(tmp_path / "clip.mp4", "biden", "CC0-1.0", paired=False)
    frames = (sampled_clips.SampledFrame(number, time_s, face, (rgb,)) for number, time_s in ((0, 0.0), (15, 0.5)))
    shown = sampled_clips.SampledClip(clip, tuple(frames), 1.0)

    model = loaded_model.open_model(tmp_path)
    network = model_scoring.EvidenceNetwork(model.networks.whole, model.networks.network_input)
    track = window_scoring.TrackScorer(network, calibration, model.frequency).track(shown, 0)
    score = build_scorer(DetectorConfig(tmp_path)).score([crop_face(rgb, face)])[0]
    assert score.frequency_score is not None
    assert track.llr == pytest.approx([score.llr] * 2, abs=1e-3)
    assert track.weights.tolist() == [score.quality.weight] * 2
    assert (track.times_s.tolist(), track.length_s, track.face_px[0]) == ([0.0, 0.5], 1.0, score.quality.face_px)


def test_without_a_rule_windows_are_left_out(places: dict[str, Path]) -> None:
    ours = loaded_model.open_model(default_weights_dir())
    for model, why in ((ours, "not requested"), (replace(ours, evidence=None), "no evidence statistics")):
        found = window_scoring.measure_windows(model, config_of(places), (), None, lambda _step, _share: None)
        assert why in found["left_out"]
    plan = window_scoring.WindowPlan({"test": lambda *_: "FAKE"})
    found = window_scoring.measure_windows(ours, config_of(places), (), plan, lambda _step, _share: None)
    assert "no footage" in found["left_out"]


def test_unknown_corruption_levels_are_refused(places: dict[str, Path]) -> None:
    done = CliRunner().invoke(
        app, ["evaluate", str(places["model"]), str(places["data"]), "--out", str(places["out"]), "--levels", "9"]
    )
    assert done.exit_code == 2
    assert "levels" in done.output


def test_a_trained_model_is_not_recalibrated(places: dict[str, Path]) -> None:
    done = CliRunner().invoke(app, ["calibrate", str(default_weights_dir()), str(places["data"])])
    assert done.exit_code == 2
    assert "possibly on this data" in done.output


def test_every_group_is_scored_by_the_fold_that_did_not_see_it() -> None:
    whole, folds = network_arrays(0), ({"fold": np.zeros(1)}, {"fold": np.ones(1)})
    networks = model_scoring.FoldNetworks(whole, folds, {"anna": 1, "bert": 0}, NetworkInput(), whole)
    groups = np.array(["anna", "stranger", "bert", "anna"])
    judged = {int(row): arrays for arrays, rows in networks.by_network(groups) for row in rows}
    assert judged[0] is judged[3] is folds[1]
    assert judged[1] is whole
    assert judged[2] is folds[0]


def test_the_shipped_model_is_not_marked_as_unseen() -> None:
    assert not loaded_model.open_model(default_weights_dir()).unseen
