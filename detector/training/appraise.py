"""`deepguard evaluate`: what a model is worth on data, in figures that can be checked."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from detector.arrays import MappedArrays
from detector.artefact import (
    Manifest,
    open_arrays,
    parse_calibration,
    parse_evidence,
    parse_frequency,
    read_manifest,
    sha256_of,
)
from detector.errors import TrainingRefused, UnknownBlob
from detector.fusion import UNCALIBRATED, Calibration, log_likelihood_ratio
from detector.training import looks, trial, window_trial
from detector.training.corruptions import Corruption, all_codings, all_corruptions
from detector.training.export import ARRAYS_FILE, REPORT_FILE, SERVED_FILE, read_report
from detector.training.metrics import UPPER_NATS, Scored, figures, intraclass
from detector.types import NetworkInput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from detector.frequency import FrequencyModel
    from detector.training.config import TrainConfig
    from detector.types import EvidenceStats

    Rows = NDArray[Any]
    Progress = Callable[[str, float], None]

# Which fold never saw a group, and the layers that were trained as they were before.
FOLDS_FILE, START_FILE = "folds.json", "start.npz"
_SIZES_PX = (64, 96, 128, 176, 10_000)


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """Networks with what is known of them. `unseen`: whether what they are tried on was kept from them."""

    name: str
    networks: trial.Networks
    calibration: Calibration | None
    trained: dict[str, Any]
    unseen: bool
    evidence: EvidenceStats | None = None
    frequency: FrequencyModel | None = None
    sha256: str = ""


def open_model(path: Path) -> Model:
    """A finished training run, or the folder of a model. Raises WeightsRefused, TrainingRefused."""
    return _open_run(path) if (path / REPORT_FILE).is_file() else _open_artefact(path)


def manifest_of_card(path: Path, card: Path, sha256: str) -> Manifest:
    """What a card says of the model itself: its folder's manifest, or, for a run, that beside the card.

    Raises TrainingRefused if that is the manifest of other weights; WeightsRefused where there is none.
    """
    manifest = read_manifest(card.parent if (path / REPORT_FILE).is_file() else path)
    if manifest.sha256 != sha256:
        raise TrainingRefused(f"{card.parent.name}: {manifest.name} {manifest.version} was not made by {path.name}")
    return manifest


def _open_artefact(path: Path) -> Model:
    manifest = read_manifest(path)
    arrays = open_arrays(path, manifest).arrays
    networks = trial.Networks(arrays, (), {}, manifest.takes, arrays)
    # Only of weights that were brought along nobody has told us that they were trained on what lies here.
    unseen = "imported" in manifest.trained
    name = f"{manifest.name} {manifest.version}"
    known = (manifest.evidence, manifest.frequency, manifest.sha256)
    return Model(name, networks, manifest.calibration, manifest.trained, unseen, *known)


def _open_run(path: Path) -> Model:
    report = read_report(path)
    try:
        fold_of: dict[str, int] = json.loads((path / FOLDS_FILE).read_text(encoding="utf-8"))
        whole = MappedArrays(path / ARRAYS_FILE).arrays
        count = max(fold_of.values(), default=-1) + 1
        parts = [MappedArrays(path / f"fold-{index}.npz").arrays for index in range(count)]
        served, start = (MappedArrays(path / name).arrays for name in (SERVED_FILE, START_FILE))
    except (OSError, ValueError, UnknownBlob) as error:
        raise TrainingRefused(f"{path.name}: no networks of its folds (phase head keeps none): {error}") from error
    folds = tuple({**whole, **part} for part in parts)
    networks = trial.Networks(served, folds, fold_of, NetworkInput(), {**whole, **start})
    measured = parse_evidence(report.get("evidence")), parse_frequency(report.get("frequency"))
    known = (*measured, sha256_of(path / SERVED_FILE))
    return Model(path.name, networks, parse_calibration(report["calibration"]), report, True, *known)


def evaluate(
    model: Model, config: TrainConfig, levels: tuple[int, ...], plan: window_trial.Plan | None, progress: Progress
) -> dict[str, Any]:
    """All figures; those of windows only with a plan. Blocks for minutes. Raises TrainingRefused."""
    views, made = trial.gather(config, progress)
    rows = trial.judge_views(model.networks, views, Corruption())
    untrained = trial.judge_untrained(model.networks, views)
    parts = [rows, trial.judge_made(model.networks, made)]
    parts += list(_corrupted(model, views, levels, (config, progress)))
    table = np.concatenate(parts)
    icc = _icc(rows, model.calibration)
    return {
        "model": {"name": model.name, "sha256": model.sha256, "calibrated": model.calibration is not None},
        "unseen": model.unseen,
        "icc": icc,
        "frames": len(table),
        "footage": _beside(rows, untrained, model.calibration, icc),
        "looks": _looks(table, config),
        "families": {
            str(kind): _figures(parts[1][parts[1]["family"] == kind], model.calibration, icc)
            for kind in np.unique(parts[1]["family"])
        },
        "conditions": _by_condition(table, model.calibration, icc),
        "false_positives": _false_positives(_never_trained_on(table, model), model.calibration, icc),
        "face_sizes": _by_size(rows, model.calibration, icc),
        "windows": window_trial.measure(model, config, levels, plan, progress),
    }


def _corrupted(
    model: Model, views: list[trial.View], levels: tuple[int, ...], around: tuple[TrainConfig, Progress]
) -> Iterator[Rows]:
    config, progress = around
    kinds = all_corruptions(levels)
    for index, corruption in enumerate(kinds):
        progress("corruptions", index / max(1, len(kinds)))
        yield trial.judge_views(model.networks, views, corruption)
    for codec, kbps in all_codings(levels):
        progress(f"codecs: {codec} {kbps} kb/s", 0.0)
        yield trial.judge_recoded(model.networks, views, (codec, kbps), config.cache_dir / "recoded")


def llr_of(rows: Rows, calibration: Calibration | None) -> NDArray[np.float64]:
    """Of the network alone: the frequency score is judged apart."""
    return np.array([log_likelihood_ratio(float(x), None, calibration or UNCALIBRATED) for x in rows["logit"]])


def scored_of(rows: Rows, scores: NDArray[Any]) -> Scored:
    return Scored(rows["label"].astype(int), scores.astype(np.float64), rows["group"], rows["sharpness"])


def _figures(rows: Rows, calibration: Calibration | None, icc: float) -> dict[str, Any] | None:
    found = figures(scored_of(rows, llr_of(rows, calibration)), icc)
    return None if found is None else asdict(found)


def _icc(rows: Rows, calibration: Calibration | None) -> float:
    """Over real clips."""
    reals = rows[rows["label"] == 0]
    return intraclass(llr_of(reals, calibration), reals["group"]) if len(reals) else 0.0


def _beside(
    rows: Rows, untrained: NDArray[np.float32], calibration: Calibration | None, icc: float
) -> dict[str, dict[str, Any] | None]:
    pairs = rows["family"] == trial.PAIRS
    scores = {
        "network": llr_of(rows[pairs], calibration),
        "random head": untrained[pairs],
        "softness": -np.log(rows["sharpness"][pairs] + 1),
        "contrast": rows["contrast"][pairs],
    }
    made = {name: figures(scored_of(rows[pairs], score), icc) for name, score in scores.items()}
    return {name: None if found is None else asdict(found) for name, found in made.items()}


def _looks(table: Rows, config: TrainConfig) -> dict[str, dict[str, Any]]:
    """By condition, what scores that cancel a clip's own look make of swapped footage; empty without any."""
    pairs = table[table["family"] == trial.PAIRS]
    found = {}
    for name in dict.fromkeys(pairs["condition"].tolist()):
        tracks = looks.tracks_of(pairs[pairs["condition"] == name])
        if len({track.group for track in tracks}) >= config.folds:
            ways = looks.beside(tracks, config.folds, config.seed)
            found[name] = {way: asdict(estimate) for way, estimate in ways.items()}
    return found


def _by_condition(table: Rows, calibration: Calibration | None, icc: float) -> dict[str, dict[str, Any] | None]:
    pairs = table[table["family"] == trial.PAIRS]
    names = list(dict.fromkeys(pairs["condition"].tolist()))
    return {name: _figures(pairs[pairs["condition"] == name], calibration, icc) for name in names}


def _never_trained_on(table: Rows, model: Model) -> Rows:
    """Real footage, and the real halves of pairs that the model has not seen."""
    families = (trial.PAIRS, trial.CALLS) if model.unseen else (trial.CALLS,)
    kept: Rows = table[(table["label"] == 0) & np.isin(table["family"], families)]
    return kept


def _false_positives(reals: Rows, calibration: Calibration | None, icc: float) -> dict[str, dict[str, float]]:
    """Per condition, of real clips: how many the evidence would call fake by Wald's bound, and frames above .9."""
    found = {}
    for name in dict.fromkeys(reals["condition"].tolist()):
        rows = reals[reals["condition"] == name]
        llr = llr_of(rows, calibration)
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
    pairs = rows[rows["family"] == trial.PAIRS]
    found = {}
    for low, high in pairwise(_SIZES_PX):
        inside = pairs[(pairs["face_px"] >= low) & (pairs["face_px"] < high)]
        if len(inside):
            found[f"from {low} px"] = _figures(inside, calibration, icc)
    return found
