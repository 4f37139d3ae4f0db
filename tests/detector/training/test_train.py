"""A small but complete training run: from folders of pictures to a model folder that the service loads."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from typer.testing import CliRunner

from api.cli.main import app
from detector.config import DetectorConfig
from detector.errors import TrainingRefused, WeightsRefused
from detector.face_crop import crop_face
from detector.model_artifact import open_arrays, read_manifest
from detector.openvino_scorer import OpenVinoScorer
from detector.training.checkpoints import export
from detector.training.checkpoints.export import ARRAYS_FILE, REPORT_FILE
from detector.training.config import Phase, TrainConfig
from detector.training.evaluation import estimates
from detector.training.evaluation.estimates import auc
from detector.training.evaluation.loaded_model import open_model
from detector.training.phases import deep_model
from detector.training.phases.head_model import HeadData, choose_penalty, fit_heads
from detector.training.phases.top_model import FeaturePairs, build_top, fit_top, load_top, read_top, score_top
from detector.training.phases.training_loop import TrainingSchedule, mask_loss
from detector.training.train import train
from detector.types import EvidenceStats
from tests.detector.pictures import network_arrays, portrait, released_weights
from tests.detector.training_data import eagerly, make_folders, make_pairs, make_tool_pairs

if TYPE_CHECKING:
    from pathlib import Path


# Of blocks 3, 4 and 13.
TRAINED = {Phase.TOP: [13], Phase.DEEP: [4, 13]}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    root = tmp_path_factory.mktemp("training")
    np.savez(root / "base.npz", **released_weights())
    return TrainConfig(make_folders(root / "data"), root / "base.npz", root / "run", root / "cache")


def check_settle(settings: TrainConfig, run: Path, report: dict[str, Any]) -> None:
    """Runs `deepguard settle` on a run and checks that `mean_real` rises to the level of its real clips."""
    command = ["settle", str(run), str(settings.data_dir), "--cache-dir", str(settings.cache_dir), "--levels", ""]
    refused = CliRunner().invoke(app, command)
    assert refused.exit_code != 0
    assert "never measured" in refused.output
    narrow = EvidenceStats(-9.0, 9.0, 0.3, 0.5, 1.0, -9.0, 9.0)
    (run / REPORT_FILE).write_text(json.dumps({**report, "evidence": asdict(narrow)}))
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    after = json.loads((run / REPORT_FILE).read_text())
    assert -9 < after["evidence"]["mean_real"] < 9
    assert f"below {after['evidence']['mean_real']:.2f} nats" in done.output
    assert {**after, "evidence": None} == {**report, "evidence": None}


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.filterwarnings("ignore:Even though the `tf.config")
@pytest.mark.parametrize("phase", [Phase.TOP, Phase.DEEP])
def test_smoke_run_from_twenty_pictures_and_a_pair_to_a_served_model(
    settings: TrainConfig, phase: Phase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimates, "BOOTSTRAPS", 20)
    monkeypatch.setattr(deep_model, "PRETRAINING", deep_model.Stage(64, 4, 3e-4))
    monkeypatch.setattr(deep_model, "TUNING", deep_model.Stage(96, 4, 2e-4))
    make_pairs(settings.data_dir, 1)
    make_tool_pairs(settings.data_dir, {"GHOST": 1})
    with eagerly() if phase is Phase.DEEP else nullcontext():
        done = CliRunner().invoke(app, [
            "train", "--smoke", str(settings.data_dir), "--base-weights", str(settings.base_weights),
            "--run-dir", str(tmp_path / "run"), "--cache-dir", str(settings.cache_dir), "--phase", phase,
        ])  # fmt: skip
    assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "run" / REPORT_FILE).read_text())
    assert report["settings"]["phase"] == phase
    assert report["licences"]["CC0-1.0"] == 2, "a swapped clip and a pair of another tool"
    assert report["licences"]["the owner's"] == 10, "the other ten are for validation"
    assert {row["name"] for row in report["results"]["pseudo_fakes"]} == {"network", "untrained head", "softness"}
    assert (tmp_path / "run" / "curves.png").is_file()

    manifest = export.export(tmp_path / "run", tmp_path / "weights", "9.9.9")
    assert read_manifest(tmp_path / "weights") == manifest
    person = portrait(1)
    score = OpenVinoScorer(DetectorConfig(weights_dir=tmp_path / "weights")).score([crop_face(person.rgb, person.face)])
    assert 0 < score[0].prob_fake < 1
    arrays, before = open_arrays(tmp_path / "weights", manifest).arrays, network_arrays()
    trained = [block for block in (3, 4, 13) if np.any(arrays[bias_of(block)] != before[bias_of(block)])]
    assert trained == TRAINED[phase]

    networks = open_model(tmp_path / "run").networks
    (fold,) = networks.folds
    assert networks.fold_of == {"somebody-0": 0, "GHOST-0": 0}
    assert report["fit"].get("tools") == (["GHOST"] if phase is Phase.DEEP else None)
    assert all(np.any(fold[bias_of(13)] != other[bias_of(13)]) for other in (networks.whole, networks.start))
    assert np.array_equal(networks.start[bias_of(13)], before[bias_of(13)])

    check_settle(settings, tmp_path / "run", report)


def bias_of(block: int) -> str:
    return f"block{block}_sepconv2|bias"


def test_a_research_run_cannot_be_exported(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / REPORT_FILE).write_text(json.dumps({"settings": {"research": True}}))
    (tmp_path / "run" / ARRAYS_FILE).write_bytes(b"")
    with pytest.raises(TrainingRefused, match="research"):
        export.export(tmp_path / "run", tmp_path / "weights", "1")
    assert not (tmp_path / "weights").exists()


def test_an_unfinished_run_cannot_be_exported(tmp_path: Path) -> None:
    with pytest.raises(TrainingRefused, match="no finished"):
        export.export(tmp_path, tmp_path / "weights", "1")


@pytest.mark.parametrize(("gain", "chosen"), [(-0.1, "head"), (0.01, "head"), (0.03, "top")])
def test_a_later_phase_ships_only_if_it_is_clearly_better(tmp_path: Path, gain: float, chosen: str) -> None:
    for name, merit in (("head", 0.6), ("top", 0.6 + gain)):
        clip = {"name": "network", "condition": "as it came", "clip_auc": {"value": merit}}
        pseudo = {"name": "network", "frame_auc": {"value": merit}}
        (tmp_path / name).mkdir()
        report = {"results": {"clips": [clip], "pseudo_fakes": [pseudo]}}
        (tmp_path / name / REPORT_FILE).write_text(json.dumps(report))
    assert export.choose_run([tmp_path / "head", tmp_path / "top"]).name == chosen


def test_without_pictures_the_result_is_refused_as_untrained(settings: TrainConfig, tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = CliRunner().invoke(app, [
        "train", str(tmp_path), "--base-weights", str(settings.base_weights), "--run-dir", str(run),
        "--cache-dir", str(tmp_path / "cache"),
    ])  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "no training data" in done.output
    with pytest.raises(WeightsRefused, match="no model"):
        OpenVinoScorer(DetectorConfig(weights_dir=run))
    with pytest.raises(TrainingRefused, match="no finished"):
        export.export(run, tmp_path / "weights", "1")


def test_unreadable_base_weights_are_refused(settings: TrainConfig, tmp_path: Path) -> None:
    (tmp_path / "base.npz").write_bytes(b"nothing")
    config = TrainConfig(settings.data_dir, tmp_path / "base.npz", tmp_path / "run", tmp_path / "cache")
    with pytest.raises(TrainingRefused, match=r"base\.npz"):
        train(config, lambda what, share: None)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_head_learns_a_separable_feature() -> None:
    rng = np.random.default_rng(0)
    labels = np.tile([0, 1], 200)
    pooled = rng.normal(1, 0.3, (400, 2048)).astype(np.float32)
    pooled[labels == 1, :40] += 0.4
    data = HeadData(pooled, labels.astype(np.int64), np.ones(400), np.arange(400).astype(str))
    kernels, biases = fit_heads(data.take(np.arange(300)), (0.1, 100.0), seed=0)
    assert auc(labels[300:], (pooled[300:] @ kernels + biases)[:, 0]) > 0.95
    assert np.linalg.norm(kernels[:, 1]) < np.linalg.norm(kernels[:, 0]) / 10, "a penalty shrinks its own column"
    penalty = choose_penalty(data.take(np.arange(200)), 2, seed=0)
    assert auc(labels[:200], penalty.logits) > 0.9, "held-out logits"
    assert penalty.losses[penalty.chosen] == min(penalty.losses.values())


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_top_learns_and_its_arrays_round_trip() -> None:
    rng = np.random.default_rng(1)
    middle = rng.normal(0, 1, (64, 14, 14, 728)).astype(np.float16)
    middle[1::2, 2:12, 2:12, :200] += np.float16(2)
    base = network_arrays()
    masks = np.full((64, 14, 14), 255, np.uint8)
    part = FeaturePairs(middle, masks, pairs=np.arange(24), groups=np.repeat(["a", "b", "c"], 8))
    trained = fit_top(base, [part], TrainingSchedule(30, seed=0), lambda share: None)
    logits = score_top(trained, middle, np.arange(48, 64))
    assert auc(np.tile([0, 1], 8), logits) > 0.9

    model = build_top()
    load_top(model, trained)
    again = read_top(model)
    assert all(np.array_equal(again[name], array) for name, array in trained.items())


def test_unknown_cells_do_not_count_in_the_mask_loss() -> None:
    wanted = np.array([[254, 0], [255, 255]], np.uint8).reshape(1, 2, 2, 1)
    logits = np.array([[9.0, -9.0], [50.0, -50.0]], np.float32).reshape(1, 2, 2, 1)
    assert float(mask_loss(wanted, logits)) < 1e-3
    assert float(mask_loss(np.full_like(wanted, 255), logits)) == 0.0
    assert float(mask_loss(wanted, -logits)) > 8
