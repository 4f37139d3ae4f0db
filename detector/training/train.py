"""Training run: from pictures to an evaluated, calibrated model in a run folder.

All figures are measured on people and clips that the network was not trained on: swapped footage by cross-validation
over groups, pseudo-fakes on other people. Real calls are never trained on.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from detector.array_file import write_arrays
from detector.config import DetectorConfig
from detector.errors import NoTrainingData, TrainingRefused
from detector.factory import build_finder, build_scorer
from detector.fusion import log_likelihood_ratio
from detector.model_artifact import parse_calibration, write_manifest
from detector.training.checkpoints.activation_ranges import quantize_for_serving
from detector.training.checkpoints.export import ARRAYS_FILE, REPORT_FILE, SERVED_FILE, build_manifest
from detector.training.config import Phase, TrainConfig
from detector.training.data.sample_collection import collect, real_footage
from detector.training.evaluation.evidence_model import clip_means, measure_evidence, score_clip
from detector.training.evaluation.plots import curves_png, sheet_png
from detector.training.evaluation.training_report import EvaluationInputs, evaluate_run
from detector.training.phases.deep_phase import DeepPhase
from detector.training.phases.head_phase import fit_head
from detector.training.phases.phase_interface import PhaseInputs, zero_head
from detector.training.phases.top_phase import TopPhase
from detector.training.phases.training_loop import read_losses
from detector.xception_keras import fold_normalisation

if TYPE_CHECKING:
    from pathlib import Path

    from detector.training.data.samples import SampleSet
    from detector.training.phases.phase_interface import Arrays, PhaseResult, Progress

SETTINGS_FILE, CURVES_FILE, EXAMPLES_FILE = "settings.json", "curves.png", "examples.png"
EVIDENCE_RATE_HZ = 5.0
_CHECKPOINT = ".ckpt.npz"
_EXAMPLES = 12


def train(config: TrainConfig, progress: Progress) -> Path:
    """Trains and evaluates one phase; returns the run folder with arrays and report.

    `progress(step, share)` is called often, with `share` in 0..1. Blocks for minutes to hours. Without data the folder
    receives the untrained network, which the service refuses to load. Raises TrainingRefused.
    """
    started = time.process_time()
    _open_run(config)
    try:
        inputs = _prepare(config, progress)
    except NoTrainingData:
        return write_untrained(config)
    fitted = _fit(inputs)
    write_arrays(config.run_dir / ARRAYS_FILE, fitted.arrays)
    served, rounding = quantize_for_serving(fitted.arrays, inputs.collection.train.rgb, config.seed, progress)
    write_arrays(config.run_dir / SERVED_FILE, served)
    pooled = inputs.features("clips").pooled
    trained = EvaluationInputs(inputs.base, served, inputs.collection, fitted.clip_logits, pooled)
    report = {
        "settings": _settings(config),
        "licences": inputs.collection.licences,
        "fit": {**fitted.details, "rounding": round(rounding, 4), "cpu_s": round(time.process_time() - started)},
        **evaluate_run(trained, config, progress),
    }
    report["evidence"] = _evidence(config, trained, report, progress)
    (config.run_dir / REPORT_FILE).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return config.run_dir


def _evidence(
    config: TrainConfig, trained: EvaluationInputs, report: dict[str, Any], progress: Progress
) -> dict[str, float] | None:
    """Returns the evidence statistics of frames in real calls and of held-out swapped clips; None without either."""
    paths, clips = real_footage(config), trained.collection.clips.rows
    fakes = (clips["label"] == 1) & ~clips["degraded"]
    if not paths or not fakes.any():
        return None
    manifest = build_manifest(config.run_dir, SERVED_FILE, report, version="unreleased")
    write_manifest(config.run_dir, manifest)
    finder, scorer = build_finder(DetectorConfig()), build_scorer(DetectorConfig(config.run_dir, num_threads=2))
    series = []
    for index, path in enumerate(paths):
        progress("evidence in real calls", index / len(paths))
        series.append(score_clip(path, EVIDENCE_RATE_HZ, finder, scorer))
    calibration = parse_calibration(report["calibration"])
    llr = [log_likelihood_ratio(float(logit), None, calibration) for logit in trained.clip_logits[fakes]]
    return asdict(measure_evidence(series, list(clip_means(llr, clips["group"][fakes]).values())))


def write_untrained(config: TrainConfig) -> Path:
    """Writes the untrained network: base weights and a head of zeros, under a manifest that the service refuses."""
    write_arrays(config.run_dir / SERVED_FILE, {**fold_normalisation(_released(config)), **zero_head()})
    report = {"settings": _settings(config), "licences": {}, "fit": {}, "results": {}, "calibration": None}
    manifest = build_manifest(config.run_dir, SERVED_FILE, {**report, "frequency": None}, version="untrained")
    write_manifest(config.run_dir, replace(manifest, is_trained=False))
    return config.run_dir


def _open_run(config: TrainConfig) -> None:
    """Creates the run folder. Raises TrainingRefused if it holds a run with other settings."""
    config.run_dir.mkdir(parents=True, exist_ok=True)
    path, settings = config.run_dir / SETTINGS_FILE, json.dumps(_settings(config), indent=2) + "\n"
    if path.is_file() and path.read_text(encoding="utf-8") != settings:
        raise TrainingRefused(f"{config.run_dir}: holds a run with other settings; choose another folder")
    path.write_text(settings, encoding="utf-8")


def _settings(config: TrainConfig) -> dict[str, Any]:
    """Returns the settings that determine the result; paths do not."""
    settings = {name: value for name, value in asdict(config).items() if not name.endswith(("_dir", "_weights"))}
    return {**settings, "exclude_groups": sorted(config.exclude_groups)}


def _prepare(config: TrainConfig, progress: Progress) -> PhaseInputs:
    released = _released(config)
    return PhaseInputs(config, collect(config, progress), released, fold_normalisation(released), progress)


def _released(config: TrainConfig) -> Arrays:
    try:
        with np.load(config.base_weights, allow_pickle=False) as released:
            return dict(released)
    except (OSError, ValueError) as error:
        raise TrainingRefused(f"{config.base_weights.name}: not a readable .npz of base weights: {error}") from error


def _fit(inputs: PhaseInputs) -> PhaseResult:
    phase = inputs.config.phase
    if phase is Phase.HEAD:
        return fit_head(inputs)
    fitted = TopPhase(inputs).fit() if phase is Phase.TOP else DeepPhase(inputs).fit()
    _draw_curves(inputs.config.run_dir)
    _draw_examples(inputs.config.run_dir / EXAMPLES_FILE, inputs.collection.train)
    return fitted


def _draw_curves(run_dir: Path) -> None:
    """Plots the loss curve of every checkpoint in the run folder."""
    kept = sorted(run_dir.glob(f"*{_CHECKPOINT}"))
    curves_png(run_dir / CURVES_FILE, {path.name.removesuffix(_CHECKPOINT): read_losses(path) for path in kept})


def _draw_examples(path: Path, samples: SampleSet) -> None:
    """Writes a contact sheet of real faces and of every family of fakes."""
    kinds, is_fake = samples.rows["kind"], samples.rows["label"] == 1
    shown = {"real": ~is_fake, **{str(kind): is_fake & (kinds == kind) for kind in np.unique(kinds)}}
    sheet_png(path, {name: samples.rgb[np.flatnonzero(rows)[:_EXAMPLES]] for name, rows in shown.items()})
