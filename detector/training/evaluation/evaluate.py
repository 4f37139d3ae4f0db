"""Evaluation for `deepguard evaluate`: figures of a model by condition, family, face size and window."""

from __future__ import annotations

from dataclasses import asdict
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from detector.fusion import UNCALIBRATED, Calibration, log_likelihood_ratio
from detector.training.evaluation import (
    group_offsets,
    model_scoring,
    temporal_baselines,
    tool_scoring,
    window_scoring,
)
from detector.training.evaluation.corruptions import Corruption, all_codings, all_corruptions
from detector.training.evaluation.score_metrics import UPPER_NATS, FrameScores, compute_metrics, intraclass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from detector.training.config import TrainConfig
    from detector.training.evaluation.loaded_model import LoadedModel

    Rows = NDArray[Any]
    Progress = Callable[[str, float], None]

_SIZES_PX = (64, 96, 128, 176, 10_000)


def evaluate(
    model: LoadedModel,
    config: TrainConfig,
    levels: tuple[int, ...],
    plan: window_scoring.WindowPlan | None,
    progress: Progress,
) -> dict[str, Any]:
    """Returns all figures; those of windows only with a `plan`. Blocks for minutes. Raises TrainingRefused."""
    faces, pseudo_fakes = model_scoring.collect_faces(config, progress)
    rows = model_scoring.score_faces(model.networks, faces, Corruption())
    untrained = model_scoring.score_untrained(model.networks, faces)
    parts = [rows, model_scoring.score_samples(model.networks, pseudo_fakes)]
    parts += list(_score_corrupted(model, faces, levels, config, progress))
    table = np.concatenate(parts)
    icc = _icc(rows, model.calibration)
    return {
        "model": {"name": model.name, "sha256": model.sha256, "calibrated": model.calibration is not None},
        "unseen": model.unseen,
        "icc": icc,
        "frames": len(table),
        "footage": _compare_scorers(rows, untrained, model.calibration, icc),
        "looks": _compare_temporal(table, config),
        "families": {
            str(kind): _figures(parts[1][parts[1]["family"] == kind], model.calibration, icc)
            for kind in np.unique(parts[1]["family"])
        },
        "conditions": _by_condition(table, model.calibration, icc),
        "false_positives": _false_positives(_never_trained_on(table, model), model.calibration, icc),
        "face_sizes": _by_size(rows, model.calibration, icc),
        "tools": tool_scoring.measure_tools(model, config, levels, progress),
        "groups": group_offsets.measure_groups(model, config, progress),
        "windows": window_scoring.measure_windows(model, config, levels, plan, progress),
    }


def _score_corrupted(
    model: LoadedModel,
    faces: list[model_scoring.LabelledFace],
    levels: tuple[int, ...],
    config: TrainConfig,
    progress: Progress,
) -> Iterator[Rows]:
    kinds = all_corruptions(levels)
    for index, corruption in enumerate(kinds):
        progress("corruptions", index / max(1, len(kinds)))
        yield model_scoring.score_faces(model.networks, faces, corruption)
    for coding in all_codings(levels):
        progress(f"codecs: {coding}", 0.0)
        yield model_scoring.score_recoded(model.networks, faces, coding, config.cache_dir / "recoded")


def network_llr(rows: Rows, calibration: Calibration | None) -> NDArray[np.float64]:
    """Returns the LLR of each row by the logit alone, without the frequency score."""
    return np.array([log_likelihood_ratio(float(x), None, calibration or UNCALIBRATED) for x in rows["logit"]])


def to_frame_scores(rows: Rows, scores: NDArray[Any]) -> FrameScores:
    """Returns `scores` with labels, groups and sharpness of the rows."""
    return FrameScores(rows["label"].astype(int), scores.astype(np.float64), rows["group"], rows["sharpness"])


def _figures(rows: Rows, calibration: Calibration | None, icc: float) -> dict[str, Any] | None:
    found = compute_metrics(to_frame_scores(rows, network_llr(rows, calibration)), icc)
    return None if found is None else asdict(found)


def _icc(rows: Rows, calibration: Calibration | None) -> float:
    """Returns the intraclass correlation of the LLRs within real clips; 0 without any."""
    reals = rows[rows["label"] == 0]
    return intraclass(network_llr(reals, calibration), reals["group"]) if len(reals) else 0.0


def _compare_scorers(
    rows: Rows, untrained: NDArray[np.float32], calibration: Calibration | None, icc: float
) -> dict[str, dict[str, Any] | None]:
    pairs = rows["family"] == model_scoring.PAIRS
    scores = {
        "network": network_llr(rows[pairs], calibration),
        "random head": untrained[pairs],
        "softness": -np.log(rows["sharpness"][pairs] + 1),
        "contrast": rows["contrast"][pairs],
    }
    made = {name: compute_metrics(to_frame_scores(rows[pairs], score), icc) for name, score in scores.items()}
    return {name: None if found is None else asdict(found) for name, found in made.items()}


def _compare_temporal(table: Rows, config: TrainConfig) -> dict[str, dict[str, Any]]:
    """Returns the temporal baselines on swapped footage, by condition; empty with fewer clips than folds."""
    pairs = table[table["family"] == model_scoring.PAIRS]
    found = {}
    for name in dict.fromkeys(pairs["condition"].tolist()):
        tracks = temporal_baselines.group_tracks(pairs[pairs["condition"] == name])
        if len({track.group for track in tracks}) >= config.folds:
            ways = temporal_baselines.compare_baselines(tracks, config.folds, config.seed)
            found[name] = {way: asdict(estimate) for way, estimate in ways.items()}
    return found


def _by_condition(table: Rows, calibration: Calibration | None, icc: float) -> dict[str, dict[str, Any] | None]:
    pairs = table[table["family"] == model_scoring.PAIRS]
    names = list(dict.fromkeys(pairs["condition"].tolist()))
    return {name: _figures(pairs[pairs["condition"] == name], calibration, icc) for name in names}


def _never_trained_on(table: Rows, model: LoadedModel) -> Rows:
    """Returns the real rows that the model was not trained on."""
    families = (model_scoring.PAIRS, model_scoring.CALLS) if model.unseen else (model_scoring.CALLS,)
    kept: Rows = table[(table["label"] == 0) & np.isin(table["family"], families)]
    return kept


def _false_positives(reals: Rows, calibration: Calibration | None, icc: float) -> dict[str, dict[str, float]]:
    """Returns, by condition, the shares of real clips above Wald's bound for FAKE and of real frames above .9."""
    found = {}
    for name in dict.fromkeys(reals["condition"].tolist()):
        rows = reals[reals["condition"] == name]
        llr = network_llr(rows, calibration)
        totals = []
        for group in np.unique(rows["group"]):
            own = llr[rows["group"] == group]
            totals.append(own.mean() * len(own) / (1 + (len(own) - 1) * icc))
        found[name] = {
            "clips": len(totals),
            "called_fake": float(np.mean(np.array(totals) >= UPPER_NATS)),
            "frames": float(np.mean(llr > np.log(9))),
        }
    return found


def _by_size(rows: Rows, calibration: Calibration | None, icc: float) -> dict[str, dict[str, Any] | None]:
    pairs = rows[rows["family"] == model_scoring.PAIRS]
    found = {}
    for low, high in pairwise(_SIZES_PX):
        inside = pairs[(pairs["face_px"] >= low) & (pairs["face_px"] < high)]
        if len(inside):
            found[f"from {low} px"] = _figures(inside, calibration, icc)
    return found
