"""A model opened for evaluation: a finished training run with its fold networks, or the folder of a model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from detector.array_file import MappedArrays
from detector.errors import InvalidArrayFile, TrainingRefused
from detector.model_artifact import (
    Manifest,
    open_arrays,
    parse_calibration,
    parse_evidence,
    parse_frequency,
    read_manifest,
    sha256_of,
)
from detector.training.checkpoints.export import ARRAYS_FILE, REPORT_FILE, SERVED_FILE, read_report
from detector.training.evaluation import model_scoring
from detector.types import NetworkInput

if TYPE_CHECKING:
    from pathlib import Path

    from detector.frequency import FrequencyModel
    from detector.fusion import Calibration
    from detector.types import EvidenceStats

# Which fold never saw a group, and the trained layers as they were before training.
FOLDS_FILE, START_FILE = "folds.json", "start.npz"


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """Networks with what is known of them. `unseen`: whether what they are tried on was kept from them."""

    name: str
    networks: model_scoring.FoldNetworks
    calibration: Calibration | None
    trained: dict[str, Any]
    unseen: bool
    evidence: EvidenceStats | None = None
    frequency: FrequencyModel | None = None
    sha256: str = ""


def open_model(path: Path) -> LoadedModel:
    """A finished training run, or the folder of a model. Raises WeightsRefused, TrainingRefused."""
    return _open_run(path) if (path / REPORT_FILE).is_file() else _open_artefact(path)


def read_card_manifest(path: Path, card: Path, sha256: str) -> Manifest:
    """What a card says of the model itself: its folder's manifest, or, for a run, that beside the card.

    Raises TrainingRefused if that is the manifest of other weights; WeightsRefused where there is none.
    """
    manifest = read_manifest(card.parent if (path / REPORT_FILE).is_file() else path)
    if manifest.sha256 != sha256:
        raise TrainingRefused(f"{card.parent.name}: {manifest.name} {manifest.version} was not made by {path.name}")
    return manifest


def _open_artefact(path: Path) -> LoadedModel:
    manifest = read_manifest(path)
    arrays = open_arrays(path, manifest).arrays
    networks = model_scoring.FoldNetworks(arrays, (), {}, manifest.network_input, arrays)
    # Only of weights that were brought along nobody has told us that they were trained on what lies here.
    unseen = "imported" in manifest.trained
    name = f"{manifest.name} {manifest.version}"
    known = (manifest.evidence, manifest.frequency, manifest.sha256)
    return LoadedModel(name, networks, manifest.calibration, manifest.trained, unseen, *known)


def _open_run(path: Path) -> LoadedModel:
    report = read_report(path)
    try:
        fold_of: dict[str, int] = json.loads((path / FOLDS_FILE).read_text(encoding="utf-8"))
        whole = MappedArrays(path / ARRAYS_FILE).arrays
        count = max(fold_of.values(), default=-1) + 1
        parts = [MappedArrays(path / f"fold-{index}.npz").arrays for index in range(count)]
        served, start = (MappedArrays(path / name).arrays for name in (SERVED_FILE, START_FILE))
    except (OSError, ValueError, InvalidArrayFile) as error:
        raise TrainingRefused(f"{path.name}: no networks of its folds (phase head keeps none): {error}") from error
    folds = tuple({**whole, **part} for part in parts)
    networks = model_scoring.FoldNetworks(served, folds, fold_of, NetworkInput(), {**whole, **start})
    measured = parse_evidence(report.get("evidence")), parse_frequency(report.get("frequency"))
    known = (*measured, sha256_of(path / SERVED_FILE))
    return LoadedModel(path.name, networks, parse_calibration(report["calibration"]), report, True, *known)
