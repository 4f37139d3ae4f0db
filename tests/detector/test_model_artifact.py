"""Model folders: which are loaded and which are refused; no array is parsed before its hash is checked."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from detector.config import DetectorConfig, default_weights_dir
from detector.errors import WeightsRefused
from detector.model_artifact import MANIFEST_FILE, Manifest, open_arrays, read_manifest
from tests.detector.pictures import write_artefact

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    folder = tmp_path_factory.mktemp("artefact")
    return folder, write_artefact(folder)


def edited(written: tuple[Path, Manifest], folder: Path, change: dict[str, Any]) -> Path:
    """The manifest with some keys replaced, in a folder of its own."""
    content = json.loads((written[0] / MANIFEST_FILE).read_text())
    (folder / MANIFEST_FILE).write_text(json.dumps({**content, **change}))
    return folder


def test_a_written_manifest_is_read_back(written: tuple[Path, Manifest]) -> None:
    folder, manifest = written
    assert read_manifest(folder) == manifest
    assert read_manifest(folder).info.sha256 == manifest.sha256
    assert "head|kernel" in open_arrays(folder, manifest).arrays


def test_the_shipped_model_folder_is_complete() -> None:
    folder = DetectorConfig().weights_dir
    assert folder == default_weights_dir()
    manifest = read_manifest(folder)
    arrays = open_arrays(folder, manifest).arrays
    assert arrays["head|kernel"].shape == (2048, 1)
    assert (folder / manifest.arrays_file).stat().st_size <= 45_000_000
    assert manifest.trained["settings"]["research"] is False
    assert set(manifest.trained["results"]) >= {"clips", "pseudo_fakes", "calls"}
    assert (folder / "MODEL_CARD.md").read_text().count(manifest.sha256) == 1


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsRefused, match="no model folder"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("text", ["", "not json", "[]", "{}", "null", '{"format": 1}', "[" * 100_000])
def test_an_unreadable_manifest_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST_FILE).write_text(text)
    with pytest.raises(WeightsRefused):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"format": "deepguard-xception/0"},
        {"input": {"size_px": 4000, "colour": "rgb", "range": [-1.0, 1.0], "crop_scale": 1.3}},
        {"input": {"size_px": "224", "colour": "rgb", "range": [-1.0, 1.0], "crop_scale": 1.3}},
        {"input": {"size_px": 224, "colour": "rgb", "range": [0.0, 1.0], "crop_scale": 1.3}},
        {"input": {"size_px": 224, "colour": "rgb", "range": [-1.0, 1.0], "crop_scale": 1.3, "padding": "none"}},
        {"input": 224},
        {"input": {"size_px": 224, "colour": "bgr", "range": [-1.0, 1.0], "crop_scale": 1.3}},
        {"files": {}},
        {"files": {"../xception.npz": "0" * 64}},
        {"files": {"xception.h5": "0" * 64}},
        {"files": {"a.npz": "0" * 64, "b.npz": "0" * 64}},
        {"calibration": {"bias": 0.0}},
        {"calibration": {"bias": "x", "logit_weight": 1.0}},
        {"calibration": {"bias": 0.0, "logit_weight": 1.0, "surprise": 1.0}},
        {"frequency": {"mean": [0.0], "scale": [1.0], "coefficients": [1.0], "intercept": 0.0}},
        {"frequency": {}},
        {"trained": 3},
    ],
)
def test_a_manifest_made_for_other_code_is_refused(
    written: tuple[Path, Manifest], tmp_path: Path, change: dict[str, Any]
) -> None:
    with pytest.raises(WeightsRefused):
        read_manifest(edited(written, tmp_path, change))


def test_a_manifest_without_frequency_model_is_read(written: tuple[Path, Manifest], tmp_path: Path) -> None:
    assert read_manifest(edited(written, tmp_path, {"frequency": None})).frequency is None


def test_a_model_without_calibration_is_read_as_uncalibrated(written: tuple[Path, Manifest], tmp_path: Path) -> None:
    manifest = read_manifest(edited(written, tmp_path, {"calibration": None}))
    assert not manifest.info.is_calibrated
    assert written[1].info.is_calibrated


def test_an_oversized_manifest_is_refused(tmp_path: Path) -> None:
    (tmp_path / MANIFEST_FILE).write_text(" " * 300_000 + "{}")
    with pytest.raises(WeightsRefused, match="larger"):
        read_manifest(tmp_path)


def test_one_changed_byte_is_refused(written: tuple[Path, Manifest], tmp_path: Path) -> None:
    folder, manifest = written
    content = bytearray((folder / "xception.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "xception.npz").write_bytes(content)
    with pytest.raises(WeightsRefused, match="SHA-256"):
        open_arrays(tmp_path, manifest)


def test_missing_and_oversized_arrays_are_refused(written: tuple[Path, Manifest], tmp_path: Path) -> None:
    with pytest.raises(WeightsRefused, match="cannot be read"):
        open_arrays(tmp_path, written[1])
    with (tmp_path / "xception.npz").open("wb") as file:
        file.truncate(97 * 1024 * 1024)
    with pytest.raises(WeightsRefused, match="more than"):
        open_arrays(tmp_path, written[1])
