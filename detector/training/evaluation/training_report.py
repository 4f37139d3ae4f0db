"""Report of a training run: calibration and figures of the network on data that it has not seen."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from detector.frequency import FrequencyModel, frequency_logit
from detector.fusion import Calibration, log_likelihood_ratio, prob_fake
from detector.training.checkpoints.serving_inference import compute_logits
from detector.training.evaluation import calibration_fit, estimates
from detector.xception_openvino import FEATURES, HEAD_BIAS, HEAD_KERNEL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from detector.training.config import TrainConfig
    from detector.training.data.sample_collection import SampleCollection
    from detector.training.data.samples import SampleSet

    Floats = NDArray[np.floating[Any]]
    Progress = Callable[[str, float], None]

_POSTERIORS = (0.5, 0.9)


@dataclass(frozen=True, slots=True, eq=False)
class EvaluationInputs:
    """The trained network `arrays`, the network `base` that it started from, and its samples.

    `clip_logits` (n,) are cross-validated; `clip_pooled` (n, 2048) are features of `base`.
    """

    base: Mapping[str, NDArray[Any]]
    arrays: Mapping[str, NDArray[Any]]
    collection: SampleCollection
    clip_logits: Floats
    clip_pooled: Floats


def evaluate_run(inputs: EvaluationInputs, config: TrainConfig, progress: Progress) -> dict[str, Any]:
    """Returns the report: `calibration` and `frequency` for the manifest, and `results` with all figures."""
    collection = inputs.collection
    trained = {name: _score(inputs.arrays, samples, progress) for name, samples in _unseen(collection).items()}
    kernel = np.random.default_rng(config.seed).normal(0, 0.02, (FEATURES, 1)).astype(np.float32)
    random_head = {**inputs.base, HEAD_KERNEL: kernel, HEAD_BIAS: np.zeros(1, np.float32)}
    untrained = {
        "val": _score(random_head, collection.val, progress),
        "clips": (inputs.clip_pooled @ kernel)[:, 0],
    }
    logits = {**trained, "clips": inputs.clip_logits}
    frequency, spectral = _frequency(collection, config)
    held, strata = _held(collection, logits, spectral)
    fusion = calibration_fit.fit_fusion(held, config.folds, config.seed, gain=1.0)
    gain = calibration_fit.worst_gain(held, fusion.calibration, strata)
    calibration = Calibration(**{**asdict(fusion.calibration), "gain": gain})
    return {
        "calibration": asdict(calibration),
        "frequency": None if frequency is None else asdict(frequency),
        "results": {
            "clips": _clip_table(collection.clips, _beside(logits, untrained, "clips")),
            "pseudo_fakes": _pseudo_table(collection.val, _beside(logits, untrained, "val")),
            "calls": _calls(collection.calls, trained["calls"], calibration),
            "frequency": _frequency_table(collection, spectral),
            "fusion": {"delta_nll": asdict(fusion.delta_nll), "frequency_used": fusion.frequency_used},
            "calibration": _calibration_table(held, calibration),
        },
    }


def _beside(logits: Mapping[str, Floats], untrained: Mapping[str, Floats], name: str) -> dict[str, Floats]:
    return {"network": logits[name], "untrained head": untrained[name]}


def _unseen(collection: SampleCollection) -> dict[str, SampleSet]:
    return {"val": collection.val, "calls": collection.calls}


def _score(arrays: Mapping[str, NDArray[Any]], samples: SampleSet, progress: Progress) -> Floats:
    return compute_logits(arrays, samples.rgb, np.arange(len(samples)), partial(progress, "scoring"))


def _frequency(collection: SampleCollection, config: TrainConfig) -> tuple[FrequencyModel | None, dict[str, Floats]]:
    """Returns the frequency model of all training rows, and log-odds of val and calls (by it) and clips (held out)."""
    rows = np.concatenate([collection.train.rows, collection.clips.rows])
    model = calibration_fit.fit_frequency(rows["frequency"], rows["label"].astype(int), rows["group"])
    spectral = {
        name: _log_odds(samples.rows["frequency"], model) for name, samples in _unseen(collection).items()
    }
    clips = collection.clips.rows
    fold_of = estimates.grouped_folds(clips["group"], config.folds, config.seed)
    held = np.full(len(clips), np.nan)
    for index in np.unique(fold_of):
        used = np.concatenate([collection.train.rows, clips[fold_of != index]])
        part = calibration_fit.fit_frequency(used["frequency"], used["label"].astype(int), used["group"])
        held[fold_of == index] = _log_odds(clips["frequency"][fold_of == index], part)
    return model, {**spectral, "clips": held}


def _log_odds(features: Floats, model: FrequencyModel | None) -> Floats:
    if model is None:
        return np.full(len(features), np.nan)
    return np.array([
        frequency_logit(row, model) if np.isfinite(row).all() else np.nan for row in np.asarray(features, np.float32)
    ])


def _held(
    collection: SampleCollection, logits: Mapping[str, Floats], spectral: Mapping[str, Floats]
) -> tuple[calibration_fit.HeldOutScores, NDArray[np.str_]]:
    """Returns all held-out rows in one table, and the stratum of each: kind, and degraded or not."""
    parts = {"val": collection.val, "clips": collection.clips, "calls": collection.calls}
    rows = np.concatenate([samples.rows for samples in parts.values()])
    held = calibration_fit.HeldOutScores(
        labels=rows["label"].astype(int),
        logits=np.concatenate([logits[name] for name in parts]).astype(np.float64),
        frequency=np.concatenate([spectral[name] for name in parts]),
        groups=rows["group"],
    )
    # Real calls have no fakes of their own, so they share the stratum of the clips.
    kind = np.where(rows["kind"] == "call", "clip", rows["kind"])
    kind = np.where(kind == "clip", kind, "photo")
    return held, np.char.add(kind, np.where(rows["degraded"], "/degraded", "/as it came"))


def _clip_table(clips: SampleSet, scorers: Mapping[str, Floats]) -> list[dict[str, Any]]:
    if not len(clips):
        return []
    all_scorers = {**scorers, "softness": -np.log(clips.rows["sharpness"] + 1)}
    table = []
    for condition, rows in (("as it came", ~clips.rows["degraded"]), ("degraded", clips.rows["degraded"])):
        for name, scores in all_scorers.items():
            report = estimates.report_pairs(name, scores[rows], clips.rows[rows])
            table.append({"condition": condition, **report.as_dict()})
    return table


def _pseudo_table(val: SampleSet, scorers: Mapping[str, Floats]) -> list[dict[str, Any]]:
    all_scorers = {**scorers, "softness": -np.log(val.rows["sharpness"] + 1)}
    labels = val.rows["label"].astype(int)
    reals = labels == 0
    return [
        {
            "name": name,
            "kind": kind,
            "frame_auc": asdict(estimates.auc_estimate(labels[rows], scores[rows], val.rows["group"][rows])),
            "sharpness_rho": estimates.rank_correlation(scores[rows & reals], val.rows["sharpness"][rows & reals]),
        }
        for name, scores in all_scorers.items()
        for kind, rows in ((str(kind), val.rows["kind"] == kind) for kind in np.unique(val.rows["kind"]))
    ]


def _calls(calls: SampleSet, logits: Floats, calibration: Calibration) -> dict[str, Any]:
    """Returns the false positives on real calls: shares of frames and clips (by mean LLR) above some posteriors."""
    if not len(calls):
        return {}
    llr = np.array([log_likelihood_ratio(float(logit), None, calibration) for logit in logits])
    _, means, groups = estimates.clip_means(llr, np.zeros(len(llr), dtype=int), calls.rows["group"])
    table: dict[str, Any] = {"clips": len(groups), "mean_prob_fake": [round(prob_fake(mean), 3) for mean in means]}
    for posterior in _POSTERIORS:
        table[f"frames_above_{posterior}"] = float(np.mean([prob_fake(value) > posterior for value in llr]))
        table[f"clips_above_{posterior}"] = float(np.mean([prob_fake(mean) > posterior for mean in means]))
    return table


def _frequency_table(collection: SampleCollection, spectral: Mapping[str, Floats]) -> dict[str, Any]:
    table = {}
    for name, samples in (("val", collection.val), ("clips", collection.clips)):
        present = np.isfinite(spectral[name])
        rows = samples.rows[present]
        if len(rows):
            estimate = estimates.auc_estimate(rows["label"].astype(int), spectral[name][present], rows["group"])
            table[name] = {"frame_auc": asdict(estimate), "share_with_spectrum": float(present.mean())}
    return table


def _calibration_table(held: calibration_fit.HeldOutScores, calibration: Calibration) -> dict[str, float]:
    llr = np.array([log_likelihood_ratio(float(logit), None, calibration) for logit in held.logits])
    probabilities = np.array([prob_fake(value) for value in llr])
    return {
        "nats": calibration_fit.loss_of(held, calibration),
        "ece": estimates.expected_calibration_error(held.labels, probabilities, held.weights),
        "largest_llr": float(np.abs(llr).max()),
    }
