"""A whole training run, small: folders of pictures in, a servable artefact out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from detector.artefact import open_arrays, read_manifest
from detector.config import DetectorConfig
from detector.engine import OpenVinoScorer
from detector.errors import TrainingRefused
from detector.preprocess import crop_face
from detector.training import export
from detector.training.config import Phase, TrainConfig
from detector.training.data import read_rgb
from detector.training.evaluate import auc
from detector.training.export import ARRAYS_FILE, REPORT_FILE
from detector.training.fit import train
from detector.training.head import HeadData, fit_heads
from detector.training.top import TopPart, build_top, fit_top, load_top, read_top, score_top
from tests.detector.pictures import MEDIA, network_arrays, portrait, released_weights

if TYPE_CHECKING:
    from pathlib import Path


def make_folders(root: Path) -> Path:
    """Two portraits in several lights and cuts, as if they were many people."""
    rng = np.random.default_rng(0)
    for split, name in (("train", "obama"), ("val", "biden")):
        rgb = read_rgb(MEDIA / f"{name}.jpg")
        folder = root / split / "real"
        folder.mkdir(parents=True)
        factor = 420 / rgb.shape[1]
        small = cv2.resize(rgb, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        for index in range(10):
            left, light = int(rng.integers(0, 20)), rng.uniform(0.7, 1.2)
            view = np.rint(small[:, left:] * light).clip(0, 255).astype(np.uint8)
            cv2.imwrite(str(folder / f"{name}-{index}.png"), view[:, :, ::-1])
    return root


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    root = tmp_path_factory.mktemp("training")
    np.savez(root / "base.npz", **released_weights())
    return TrainConfig(
        data_dir=make_folders(root / "data"),
        base_weights=root / "base.npz",
        run_dir=root / "run",
        cache_dir=root / "cache",
        train_pairs=12,
        val_pairs=12,
        folds=2,
        epochs=1,
    )


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("phase", list(Phase))
def test_from_pictures_to_a_served_model(settings: TrainConfig, phase: Phase, tmp_path: Path) -> None:
    told: list[str] = []
    config = TrainConfig(**{**{name: getattr(settings, name) for name in settings.__slots__}, "phase": phase,
                            "run_dir": tmp_path / "run"})
    run = train(config, lambda what, share: told.append(what))
    report = json.loads((run / REPORT_FILE).read_text())
    assert report["settings"]["phase"] == phase
    assert "the owner's" in report["licences"]
    assert {row["name"] for row in report["results"]["pseudo_fakes"]} == {"network", "untrained head", "softness"}
    assert told

    manifest = export.export(run, tmp_path / "weights", "9.9.9")
    assert read_manifest(tmp_path / "weights") == manifest
    person = portrait(1)
    score = OpenVinoScorer(DetectorConfig(weights_dir=tmp_path / "weights")).score([crop_face(person.rgb, person.face)])
    assert 0 < score[0].prob_fake < 1
    arrays = open_arrays(tmp_path / "weights", manifest).arrays
    changed = np.any(arrays["block14_sepconv2|bias"] != network_arrays()["block14_sepconv2|bias"])
    assert changed == (phase is Phase.TOP), "phase head leaves the backbone alone"


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
    assert export.choose([tmp_path / "head", tmp_path / "top"]).name == chosen


def test_without_pictures_there_is_no_training(settings: TrainConfig, tmp_path: Path) -> None:
    config = TrainConfig(tmp_path, settings.base_weights, tmp_path / "run", tmp_path / "cache")
    with pytest.raises(TrainingRefused, match=r"stills\.csv"):
        train(config, lambda what, share: None)


def test_base_weights_that_are_none_are_refused(settings: TrainConfig, tmp_path: Path) -> None:
    (tmp_path / "base.npz").write_bytes(b"nothing")
    config = TrainConfig(settings.data_dir, tmp_path / "base.npz", tmp_path / "run", tmp_path / "cache")
    with pytest.raises(TrainingRefused, match=r"base\.npz"):
        train(config, lambda what, share: None)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_head_learns_what_is_there_to_learn() -> None:
    rng = np.random.default_rng(0)
    labels = np.tile([0, 1], 200)
    pooled = rng.normal(1, 0.3, (400, 2048)).astype(np.float32)
    pooled[labels == 1, :40] += 0.4
    data = HeadData(pooled, labels.astype(np.int64), np.ones(400), np.arange(400).astype(str))
    kernels, biases = fit_heads(data.take(np.arange(300)), (0.1, 100.0), seed=0)
    assert auc(labels[300:], (pooled[300:] @ kernels + biases)[:, 0]) > 0.95
    assert np.linalg.norm(kernels[:, 1]) < np.linalg.norm(kernels[:, 0]) / 10, "a penalty holds its own column down"


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_top_learns_and_its_arrays_go_both_ways() -> None:
    rng = np.random.default_rng(1)
    middle = rng.normal(0, 1, (64, 14, 14, 728)).astype(np.float16)
    middle[1::2, 2:12, 2:12, :200] += np.float16(2)
    base = network_arrays()
    part = TopPart(middle, np.arange(24), np.repeat(["a", "b", "c"], 8))
    trained = fit_top(base, [part], steps=30, seed=0, progress=lambda share: None)
    logits = score_top(trained, middle, np.arange(48, 64))
    assert auc(np.tile([0, 1], 8), logits) > 0.9

    model = build_top()
    load_top(model, trained)
    again = read_top(model)
    assert all(np.array_equal(again[name], array) for name, array in trained.items())
