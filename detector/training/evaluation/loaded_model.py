"""Models opened for evaluation: a finished training run with its fold networks, or a model folder."""

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

# The fold that did not see each group, and the trained layers before training.
FOLDS_FILE, START_FILE = "folds.json", "start.npz"


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """A model for evaluation. `unseen` is true if each network is evaluated only on data that it was not trained on."""

    name: str
    networks: model_scoring.FoldNetworks
    calibration: Calibration | None
    trained: dict[str, Any]
    unseen: bool
    evidence: EvidenceStats | None = None
    frequency: FrequencyModel | None = None
    sha256: str = ""


def open_model(path: Path) -> LoadedModel:
    """Opens a finished training run or a model folder. Raises WeightsRefused, TrainingRefused."""
    return _open_run(path) if (path / REPORT_FILE).is_file() else _open_artefact(path)


def read_card_manifest(path: Path, card: Path, sha256: str) -> Manifest:
    """Returns the manifest for a model card: that of the model folder or, for a run, that beside the card.

    Raises TrainingRefused if it belongs to other weights, WeightsRefused where there is none.
    """
    manifest = read_manifest(card.parent if (path / REPORT_FILE).is_file() else path)
    if manifest.sha256 != sha256:
        raise TrainingRefused(f"{card.parent.name}: {manifest.name} {manifest.version} was not made by {path.name}")
    return manifest


def _open_artefact(path: Path) -> LoadedModel:
    manifest = read_manifest(path)
    arrays = open_arrays(path, manifest).arrays
    networks = model_scoring.FoldNetworks(arrays, (), {}, manifest.network_input, arrays)
    # Imported weights come from elsewhere, so they are taken as not trained on this data.
    unseen = "imported" in manifest.trained
    name = f"{manifest.name} {manifest.version}"
    return LoadedModel(
        name,
        networks,
        manifest.calibration,
        manifest.trained,
        unseen,
        evidence=manifest.evidence,
        frequency=manifest.frequency,
        sha256=manifest.sha256,
    )


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
    return LoadedModel(
        path.name,
        networks,
        parse_calibration(report["calibration"]),
        report,
        unseen=True,
        evidence=parse_evidence(report.get("evidence")),
        frequency=parse_frequency(report.get("frequency")),
        sha256=sha256_of(path / SERVED_FILE),
    )
