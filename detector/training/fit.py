"""A training run from pictures to a judged, calibrated model in a folder of its own.

Everything that is said of a model is measured on people and clips that it was not trained on: swapped footage by
cross-validation over groups, pseudo-fakes on other people, real calls never trained on at all.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from detector.arrays import MappedArrays, write_arrays
from detector.artefact import parse_calibration, write_manifest
from detector.build import build_finder, build_scorer
from detector.config import DetectorConfig
from detector.errors import NoTrainingData, TrainingRefused
from detector.fusion import log_likelihood_ratio
from detector.training import head, loop, top
from detector.training.appraise import FOLDS_FILE, START_FILE
from detector.training.calibrate import group_weights
from detector.training.collect import Collection, collect, real_footage
from detector.training.config import Phase, TrainConfig
from detector.training.deep_run import DeepRun
from detector.training.evaluate import grouped_folds
from detector.training.evidence import clip_means, measure, score_clip
from detector.training.export import ARRAYS_FILE, REPORT_FILE, SERVED_FILE, manifest_of
from detector.training.features import Extractor, Features
from detector.training.judge import Judged, judge
from detector.training.plots import curves_png, sheet_png
from detector.training.ranges import quantized
from detector.xception import fold
from detector.xception_graph import FEATURES, HEAD_BIAS, HEAD_KERNEL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]
    Floats = NDArray[np.floating[Any]]
    Progress = Callable[[str, float], None]

SETTINGS_FILE, TRAINED_FILE, CURVES_FILE, EXAMPLES_FILE = "settings.json", "trained.npz", "curves.png", "examples.png"
EVIDENCE_RATE_HZ = 5.0
# Of the loss, the part that swapped footage has when there is any; the rest is pseudo-fakes.
_CLIP_SHARE = 0.5
_CV_STEPS_SHARE = 0.5
_WARM_PENALTY = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class _Material:
    """Samples of one run, and what the frozen network makes of them."""

    config: TrainConfig
    collection: Collection
    base: Arrays
    progress: Progress

    def features(self, name: str) -> Features:
        """Of `train` or `clips`; computed when first asked for, and kept on disk."""
        samples = self.collection.train if name == "train" else self.collection.clips
        return Extractor(self.base).extract(self.config.cache_dir, name, samples, self.progress)


def train(config: TrainConfig, progress: Progress) -> Path:
    """Train and evaluate one phase; returns the run's folder with arrays and report.

    `progress(what, share)` is called often. Blocks for minutes. With no data the folder gets a structure that nobody
    takes for a model. Raises TrainingRefused.
    """
    started = time.process_time()
    _open_run(config)
    try:
        material = _prepare(config, progress)
    except NoTrainingData:
        return write_untrained(config)
    arrays, clip_logits, details = _FITS[config.phase](config, material, progress)
    write_arrays(config.run_dir / ARRAYS_FILE, arrays)
    served, rounding = quantized(arrays, material.collection.train.rgb, config.seed, progress)
    write_arrays(config.run_dir / SERVED_FILE, served)
    pooled = material.features("clips").pooled
    judged = Judged(material.base, served, material.collection, clip_logits, pooled)
    report = {
        "settings": _settings(config),
        "licences": material.collection.licences,
        "fit": {**details, "rounding": round(rounding, 4), "cpu_s": round(time.process_time() - started)},
        **judge(judged, config, progress),
    }
    report["evidence"] = _evidence(config, judged, report, progress)
    (config.run_dir / REPORT_FILE).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return config.run_dir


def _evidence(
    config: TrainConfig, judged: Judged, report: dict[str, Any], progress: Progress
) -> dict[str, float] | None:
    """How the run's frames behave in real calls, and how far its held-out swapped clips lie from them."""
    paths, clips = real_footage(config), judged.collection.clips.rows
    fakes = (clips["label"] == 1) & ~clips["degraded"]
    if not paths or not fakes.any():
        return None
    manifest = manifest_of(config.run_dir, SERVED_FILE, report, version="unreleased")
    write_manifest(config.run_dir, manifest)
    parts = build_finder(DetectorConfig()), build_scorer(DetectorConfig(config.run_dir, num_threads=2))
    series = []
    for index, path in enumerate(paths):
        progress("evidence in real calls", index / len(paths))
        series.append(score_clip(path, EVIDENCE_RATE_HZ, parts))
    calibration = parse_calibration(report["calibration"])
    llr = [log_likelihood_ratio(float(logit), None, calibration) for logit in judged.clip_logits[fakes]]
    return asdict(measure(series, list(clip_means(llr, clips["group"][fakes]).values())))


def write_untrained(config: TrainConfig) -> Path:
    """The network's structure, with base weights and a head that says nothing; it is served by nobody."""
    head_arrays = {HEAD_KERNEL: np.zeros((FEATURES, 1), np.float32), HEAD_BIAS: np.zeros(1, np.float32)}
    write_arrays(config.run_dir / SERVED_FILE, {**fold(_released(config)), **head_arrays})
    report = {"settings": _settings(config), "licences": {}, "fit": {}, "results": {}, "calibration": None}
    manifest = manifest_of(config.run_dir, SERVED_FILE, {**report, "frequency": None}, version="untrained")
    write_manifest(config.run_dir, replace(manifest, is_trained=False))
    return config.run_dir


def _open_run(config: TrainConfig) -> None:
    """Make the run's folder, or go on with what an interrupted run of the same settings left there."""
    config.run_dir.mkdir(parents=True, exist_ok=True)
    path, settings = config.run_dir / SETTINGS_FILE, json.dumps(_settings(config), indent=2) + "\n"
    if path.is_file() and path.read_text(encoding="utf-8") != settings:
        raise TrainingRefused(f"{config.run_dir}: holds a run with other settings ({SETTINGS_FILE})")
    path.write_text(settings, encoding="utf-8")


def _settings(config: TrainConfig) -> dict[str, Any]:
    """The settings that decide the result; folders are the machine's business."""
    settings = {name: value for name, value in asdict(config).items() if not name.endswith(("_dir", "_weights"))}
    return {**settings, "exclude_groups": sorted(config.exclude_groups)}


def _prepare(config: TrainConfig, progress: Progress) -> _Material:
    return _Material(config, collect(config, progress), fold(_released(config)), progress)


def _released(config: TrainConfig) -> Arrays:
    try:
        with np.load(config.base_weights, allow_pickle=False) as released:
            return dict(released)
    except (OSError, ValueError) as error:
        raise TrainingRefused(f"{config.base_weights.name}: no readable npz of base weights: {error}") from error


def _head_data(material: _Material) -> tuple[head.HeadData, int]:
    """All rows that may be trained on, pseudo-fakes first, and how many of those there are."""
    pseudo, clips = material.collection.train.rows, material.collection.clips.rows
    rows = np.concatenate([pseudo, clips])
    labels, groups = rows["label"].astype(np.int64), rows["group"]
    weights = np.ones(len(rows))
    if len(clips):
        balanced = group_weights(clips["label"].astype(np.int64), clips["group"])
        weights[len(pseudo) :] = balanced * _CLIP_SHARE / (1 - _CLIP_SHARE) * len(pseudo) / len(clips)
    pooled = np.concatenate([material.features(name).pooled for name in ("train", "clips")])
    return head.HeadData(pooled, labels, weights / weights.mean(), groups), len(pseudo)


def _fit_head(config: TrainConfig, material: _Material, progress: Progress) -> tuple[Arrays, Floats, dict[str, Any]]:
    data, pseudo_count = _head_data(material)
    progress("head: cross-validation", 0.0)
    penalty = head.choose_penalty(data, config.folds, config.seed)
    progress("head", 0.0)
    kernel, bias = head.fit_heads(data, (penalty.chosen,), config.seed)
    arrays = {**material.base, HEAD_KERNEL: kernel, HEAD_BIAS: bias}
    losses = {str(key): round(value, 4) for key, value in penalty.losses.items()}
    return arrays, penalty.logits[pseudo_count:], {"penalty": penalty.chosen, "held_out_nats": losses}


def _fit_top(config: TrainConfig, material: _Material, progress: Progress) -> tuple[Arrays, Floats, dict[str, Any]]:
    base = _warm_start(config, material)
    clips = material.collection.clips.rows
    parts_per_batch = 2 if len(clips) else 1
    steps = max(1, config.epochs * config.train_pairs * parts_per_batch // top.BATCH_PAIRS)
    cv_steps = max(1, round(steps * _CV_STEPS_SHARE))
    fold_of = grouped_folds(clips["group"], config.folds, config.seed)
    named = {str(group): int(fold) for group, fold in zip(clips["group"], fold_of, strict=True)}
    (config.run_dir / FOLDS_FILE).write_text(json.dumps(named, indent=1), encoding="utf-8")
    trained = {name: array for name, array in base.items() if name.split("|")[0] in top.TOP_LAYERS}
    write_arrays(config.run_dir / START_FILE, trained)
    logits = np.zeros(len(clips), dtype=np.float32)
    for index in range(config.folds if len(clips) else 0):
        told = partial(progress, f"top: fold {index + 1} of {config.folds}")
        rows, done = np.flatnonzero(fold_of == index), config.run_dir / f"fold-{index}.npy"
        if not done.is_file():
            plan, keep = loop.Plan(cv_steps, config.seed, config.mask_weight), config.run_dir / f"fold-{index}.ckpt.npz"
            arrays = top.fit_top(base, _parts(material, fold_of != index), plan, told, keep)
            write_arrays(config.run_dir / f"fold-{index}.npz", arrays)
            np.save(done, top.score_top(arrays, material.features("clips").middle, rows))
        logits[rows] = np.load(done)
    path = config.run_dir / TRAINED_FILE
    if not path.is_file():
        parts = _parts(material, np.ones(len(clips), dtype=np.bool_))
        plan, keep = loop.Plan(steps, config.seed, config.mask_weight), config.run_dir / "top.ckpt.npz"
        write_arrays(path, top.fit_top(base, parts, plan, partial(progress, "top"), keep))
    _draw(config, material)
    details = {"steps": steps, "cv_steps": cv_steps, "rate": top.LEARNING_RATE}
    return {**material.base, **MappedArrays(path).arrays}, logits, details


def _fit_deep(config: TrainConfig, material: _Material, progress: Progress) -> tuple[Arrays, Floats, dict[str, Any]]:
    fitted = DeepRun(config, material.collection, _released(config), progress).fit()
    _draw(config, material)
    return fitted


_FITS = {Phase.HEAD: _fit_head, Phase.TOP: _fit_top, Phase.DEEP: _fit_deep}


def _warm_start(config: TrainConfig, material: _Material) -> Arrays:
    """A head on the frozen features of the pseudo-fakes alone, so that no fold starts from its own clips."""
    data, pseudo_count = _head_data(material)
    kernel, bias = head.fit_heads(data.take(np.arange(pseudo_count)), (_WARM_PENALTY,), config.seed)
    return {**material.base, HEAD_KERNEL: kernel, HEAD_BIAS: bias}


def _parts(material: _Material, clip_rows: NDArray[np.bool_]) -> list[top.TopPart]:
    pseudo, clips = material.collection.train.rows, material.collection.clips.rows
    used = np.flatnonzero(clip_rows[::2])
    return [
        top.TopPart(_pictures(material, "train"), np.arange(len(pseudo) // 2), pseudo["group"][::2]),
        top.TopPart(_pictures(material, "clips"), used, clips["group"][::2][used]),
    ]


def _pictures(material: _Material, name: str) -> tuple[NDArray[np.float16], NDArray[np.uint8]]:
    samples = material.collection.train if name == "train" else material.collection.clips
    return material.features(name).middle, samples.masks


def _draw(config: TrainConfig, material: _Material) -> None:
    """Curves of all fits, and what the families of fakes look like."""
    kept = sorted(config.run_dir.glob("*.ckpt.npz"))
    curves_png(config.run_dir / CURVES_FILE, {path.name.split(".")[0]: loop.losses_of(path) for path in kept})
    samples = material.collection.train
    fakes = {str(kind): np.flatnonzero((samples.rows["kind"] == kind) & (samples.rows["label"] == 1))[:12]
             for kind in np.unique(samples.rows["kind"])}
    shown = {kind: samples.rgb[rows] for kind, rows in fakes.items()}
    reals = np.flatnonzero(samples.rows["label"] == 0)[:12]
    sheet_png(config.run_dir / EXAMPLES_FILE, {"real": samples.rgb[reals], **shown})
