"""Calibration for `deepguard calibrate`: from logits to log-likelihood ratios, on data that the network has not seen.

Logistic stacking over every frame, uncorrupted and after the codecs and compression of calls. Beside the logit, the
frequency score gets a weight only if adding it lowers the held-out loss with 95 % confidence. For contrast of the
evidence map and quality the report shows the change of the loss, but the manifest has no weights for them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from detector.config import DetectorConfig
from detector.errors import TrainingRefused
from detector.factory import build_finder, build_scorer
from detector.frequency import frequency_logit
from detector.fusion import Calibration, log_likelihood_ratio
from detector.model_artifact import Manifest, read_manifest, write_manifest
from detector.training.data.sample_collection import real_footage
from detector.training.evaluation import calibration_fit, model_scoring
from detector.training.evaluation.corruptions import Corruption, Transcoding
from detector.training.evaluation.estimates import Estimate, bootstrap, grouped_folds
from detector.training.evaluation.evaluate import to_frame_scores
from detector.training.evaluation.evidence_model import clip_means, measure_evidence, score_clip
from detector.training.evaluation.loaded_model import LoadedModel, open_model
from detector.training.evaluation.score_metrics import compute_metrics, intraclass

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from detector.frequency import FrequencyModel
    from detector.training.config import TrainConfig
    from detector.types import EvidenceStats

    Rows = NDArray[Any]
    Floats = NDArray[np.floating[Any]]
    Progress = Callable[[str, float], None]

_CORRUPTIONS = (Corruption(), Corruption("compression", 3), Corruption("rescale", 1), Corruption("beauty", 2))
_CODINGS = (Transcoding("h264", 150), Transcoding("vp8", 150))
_RATE_HZ = 5.0
MIN_GROUPS = 4


@dataclass(frozen=True, slots=True)
class CalibrationFit:
    """Calibration and frequency model for the manifest, and the report of the fit."""

    calibration: Calibration
    frequency: FrequencyModel | None
    report: dict[str, Any]


def recalibrate(folder: Path, config: TrainConfig, progress: Progress) -> Manifest:
    """Fits and writes the calibration of a model folder; the network does not change. Blocks for minutes.

    Raises TrainingRefused for too few groups or a missing label, and for a model that may have been trained on this
    data; WeightsRefused where the folder holds no model.
    """
    model = open_model(folder)
    if not model.unseen:
        raise TrainingRefused(
            "this model was trained and calibrated by `deepguard train`, possibly on this data; "
            "calibration on data that the network has seen would be too optimistic"
        )
    rows = score_conditions(model, config, progress)
    fitted = fit_calibration(rows, config)
    manifest = read_manifest(folder)
    trained = {**manifest.trained, "calibrated": fitted.report}
    calibrated = replace(
        manifest, calibration=fitted.calibration, frequency=fitted.frequency, trained=trained, evidence=None
    )
    write_manifest(folder, calibrated)
    complete = replace(calibrated, evidence=_evidence(folder, rows, config, fitted.calibration, progress))
    write_manifest(folder, complete)
    return complete


def score_conditions(model: LoadedModel, config: TrainConfig, progress: Progress) -> Rows:
    """Scores all evaluation data, uncorrupted and after corruptions and codecs; returns rows of `SCORE_ROW`."""
    faces, pseudo_fakes = model_scoring.collect_faces(config, progress)
    parts = [model_scoring.score_samples(model.networks, pseudo_fakes)]
    for index, corruption in enumerate(_CORRUPTIONS):
        progress("corruptions", index / len(_CORRUPTIONS))
        parts.append(model_scoring.score_faces(model.networks, faces, corruption))
    for coding in _CODINGS:
        progress(f"codecs: {coding}", 0.0)
        parts.append(model_scoring.score_recoded(model.networks, faces, coding, config.cache_dir / "recoded"))
    return np.concatenate(parts)


def fit_calibration(rows: Rows, config: TrainConfig) -> CalibrationFit:
    """Fits the calibration on rows of `SCORE_ROW` that the network has not seen. Raises TrainingRefused."""
    labels, groups = rows["label"].astype(int), rows["group"]
    if min(len(np.unique(groups[labels == label])) for label in (0, 1)) < MIN_GROUPS:
        raise TrainingRefused(f"expected at least {MIN_GROUPS} people or clips of each label")
    frequency, held_frequency = _frequency(rows, config)
    held = calibration_fit.HeldOutScores(labels, rows["logit"].astype(np.float64), held_frequency, groups)
    fusion = calibration_fit.fit_fusion(held, config.folds, config.seed, gain=1.0)
    gain = calibration_fit.worst_gain(held, fusion.calibration, _strata(rows))
    calibration = replace(fusion.calibration, gain=gain)
    llr = np.array([log_likelihood_ratio(float(x), None, calibration) for x in rows["logit"]])
    reals = labels == 0
    report = {
        "rows": len(rows),
        "groups": len(np.unique(groups)),
        "delta_nats": {"frequency": asdict(fusion.delta_nll), **_other_covariates(held, rows, config)},
        "frequency_used": fusion.frequency_used,
        "icc": intraclass(llr[reals], groups[reals]),
        "figures": asdict(found) if (found := compute_metrics(to_frame_scores(rows, llr))) else None,
    }
    return CalibrationFit(calibration, frequency, report)


def _strata(rows: Rows) -> NDArray[np.str_]:
    """Returns the stratum of each row: kind of data (real calls count as swapped clips) and condition."""
    family = np.where(np.isin(rows["family"], (model_scoring.PAIRS, model_scoring.CALLS)), "clips", "photos")
    return np.char.add(family, np.char.add("/", rows["condition"]))


def _frequency(rows: Rows, config: TrainConfig) -> tuple[FrequencyModel | None, Floats]:
    """Returns the frequency model of all rows, and the held-out log-odds of each row, NaN without a spectrum."""
    labels, groups = rows["label"].astype(int), rows["group"]
    fold = grouped_folds(groups, config.folds, config.seed)
    held = np.full(len(rows), np.nan)
    for index in np.unique(fold):
        inside = fold == index
        part = calibration_fit.fit_frequency(rows["frequency"][~inside], labels[~inside], groups[~inside])
        if part is not None:
            spectra = rows["frequency"][inside]
            held[inside] = [frequency_logit(x, part) if np.isfinite(x).all() else np.nan for x in spectra]
    return calibration_fit.fit_frequency(rows["frequency"], labels, groups), held


def _other_covariates(
    held: calibration_fit.HeldOutScores, rows: Rows, config: TrainConfig
) -> dict[str, dict[str, float]]:
    """Returns the change of the held-out loss, nats, if contrast or quality is added to the logit."""
    quality = np.column_stack([np.log(rows["face_px"]), np.log(rows["sharpness"] + 1), rows["luminance"]])
    candidates = {"contrast": rows["contrast"][:, None], "quality": quality}
    fold = grouped_folds(held.groups, config.folds, config.seed)
    alone = calibration_fit.held_out_losses(held.logits[:, None], held, fold)
    found = {}
    for name, columns in candidates.items():
        scaled = (columns - columns.mean(axis=0)) / np.maximum(columns.std(axis=0), 1e-6)
        both = np.column_stack([held.logits, scaled.astype(np.float64)])
        found[name] = asdict(_mean_change(calibration_fit.held_out_losses(both, held, fold) - alone, held))
    return found


def _mean_change(change: Floats, held: calibration_fit.HeldOutScores) -> Estimate:
    weights = held.weights
    return bootstrap(lambda picks: float(np.average(change[picks], weights=weights[picks])), held.groups)


def _evidence(
    folder: Path, rows: Rows, config: TrainConfig, calibration: Calibration, progress: Progress
) -> EvidenceStats | None:
    """Returns the evidence statistics of real clips and swapped clips; None without either."""
    paths = real_footage(config)
    fakes = (rows["label"] == 1) & (rows["family"] == model_scoring.PAIRS) & (rows["condition"] == str(Corruption()))
    if not paths or not fakes.any():
        return None
    finder, scorer = build_finder(DetectorConfig()), build_scorer(DetectorConfig(folder, num_threads=2))
    series = []
    for index, path in enumerate(paths):
        progress("evidence in real calls", index / len(paths))
        series.append(score_clip(path, _RATE_HZ, finder, scorer))
    llr = [log_likelihood_ratio(float(logit), None, calibration) for logit in rows["logit"][fakes]]
    return measure_evidence(series, list(clip_means(llr, rows["group"][fakes]).values()))
