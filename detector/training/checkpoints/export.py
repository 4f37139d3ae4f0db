"""Export of a training run as a model folder that the service loads."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

from detector.errors import TrainingRefused
from detector.model_artifact import (
    Manifest,
    parse_calibration,
    parse_evidence,
    parse_frequency,
    sha256_of,
    write_manifest,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# Files of a run: the trained weights, the same weights in int8 for evaluation and serving, and the figures.
ARRAYS_FILE, SERVED_FILE, REPORT_FILE = "arrays.npz", "served.npz", "report.json"
MODEL_NAME = "deepguard-xception"
ARTEFACT_FILE = "xception.npz"
# A later phase ships only if it is better by more than the difference that seeds and splits make.
MARGIN = 0.02


def export(run_dir: Path, target_dir: Path, version: str) -> Manifest:
    """Copies the eight-bit arrays of a run and writes the manifest. Raises TrainingRefused for a research run."""
    report = read_report(run_dir)
    if report["settings"]["research"]:
        raise TrainingRefused("this is a research run, trained on rows that may not be shipped; it cannot be exported")
    target_dir.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(run_dir / SERVED_FILE, target_dir / ARTEFACT_FILE)
    manifest = build_manifest(target_dir, ARTEFACT_FILE, report, version)
    write_manifest(target_dir, manifest)
    return manifest


def build_manifest(folder: Path, arrays_file: str, report: dict[str, Any], version: str) -> Manifest:
    """Returns the manifest of `arrays_file` in `folder`, by the report of its run."""
    return Manifest(
        name=MODEL_NAME,
        version=version,
        arrays_file=arrays_file,
        sha256=sha256_of(folder / arrays_file),
        calibration=None if report["calibration"] is None else parse_calibration(report["calibration"]),
        frequency=parse_frequency(report["frequency"]),
        evidence=parse_evidence(report.get("evidence")),
        trained={key: report[key] for key in ("settings", "licences", "fit", "results")},
    )


def choose_run(runs: Sequence[Path]) -> Path:
    """Returns the run to ship. `runs` lists the simplest first; a later one must be better by `MARGIN`."""
    best = runs[0]
    for run in runs[1:]:
        if held_out_merit(read_report(run)) > held_out_merit(read_report(best)) + MARGIN:
            best = run
    return best


def held_out_merit(report: dict[str, Any]) -> float:
    """Returns the mean of clip AUC on swapped footage without corruption and frame AUC on all pseudo-fakes."""
    clips = [row["clip_auc"]["value"] for row in report["results"]["clips"]
             if row["name"] == "network" and row["condition"] == "as it came"]
    pseudo = [row["frame_auc"]["value"] for row in report["results"]["pseudo_fakes"] if row["name"] == "network"]
    parts = [sum(values) / len(values) for values in (clips, pseudo) if values]
    return float(sum(parts) / len(parts))


def read_report(run_dir: Path) -> dict[str, Any]:
    """Reads the report of a run. Raises TrainingRefused where there is none."""
    try:
        report: dict[str, Any] = json.loads((run_dir / REPORT_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainingRefused(f"{run_dir.name}: no finished training run ({error})") from error
    return report
