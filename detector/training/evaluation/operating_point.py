"""The operating point of a run: where real streams lie under all that calls do to pictures, not only as they came.

Cameras, light and codecs shift a face's evidence for as long as they last, which no averaging removes. What a live call
takes for the upper end of real streams is therefore taken over every condition, by networks that never saw the person.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import numpy as np

from detector.errors import TrainingRefused
from detector.training.checkpoints.export import REPORT_FILE, read_report
from detector.training.evaluation import loaded_model, sampled_clips, window_scoring
from detector.training.evaluation.corruptions import Corruption

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from detector.training.config import TrainConfig
    from detector.training.evaluation.window_verdicts import EvidenceTrack, TrackSource
    from detector.types import EvidenceStats

    Progress = Callable[[str, float], None]

UPPER_PERCENTILE = 90
_RATE_HZ = 2.0


def measure_operating_point(
    run_dir: Path, config: TrainConfig, levels: tuple[int, ...], progress: Progress
) -> EvidenceStats:
    """Measure, and write into the run's report what `export` takes from there. Blocks for minutes.

    Raises TrainingRefused for a run without statistics of evidence to start from, or without sampled_clips.
    """
    model = loaded_model.open_model(run_dir)
    report = read_report(run_dir)
    if model.evidence is None or model.calibration is None:
        raise TrainingRefused(f"{run_dir.name}: its evidence was never measured, for lack of real footage or of swaps")
    found = window_scoring.score_tracks(model, model.calibration, config, progress, levels=levels, rate_hz=_RATE_HZ)
    settled = with_operating_point(model.evidence, found)
    (run_dir / REPORT_FILE).write_text(
        json.dumps({**report, "evidence": asdict(settled)}, indent=2) + "\n", encoding="utf-8"
    )
    return settled


def with_operating_point(stats: EvidenceStats, tracks: Iterable[tuple[TrackSource, EvidenceTrack]]) -> EvidenceStats:
    """The statistics with `mean_real` as the 90th percentile over real tracks of all conditions, if that is higher, and
    with those fakes, as they came, that lie above it. Raises TrainingRefused without real tracks."""
    resized = {condition.name for condition in sampled_clips.size_conditions()}
    told = [
        (source, float(np.average(track.llr, weights=track.weights)))
        for source, track in tracks if source.condition not in resized and track.weights.any()
    ]
    real = [mean for source, mean in told if source.label == 0]
    fake = [mean for source, mean in told if source.label == 1 and source.condition == str(Corruption())]
    if not real:
        raise TrainingRefused("there is no footage of real faces that are large enough")
    mean_real = max(stats.mean_real, float(np.percentile(real, UPPER_PERCENTILE)))
    above = [mean for mean in fake if mean > mean_real]
    return replace(
        stats,
        mean_real=mean_real,
        mean_fake=float(np.mean(above)) if above else mean_real,
        detectable=len(above) / max(1, len(fake)),
    )
