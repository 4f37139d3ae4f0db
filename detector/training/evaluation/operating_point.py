"""Operating point: the upper end of the evidence of real streams, over all corruptions and codecs.

Cameras, light and codecs shift the evidence of a whole stream, which averaging over frames does not remove. The limit
for live calls therefore covers every condition, by networks that did not see the person.
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
    """Measures the operating point and writes the evidence statistics into the report of the run. Blocks for minutes.

    `export` reads them from there. Raises TrainingRefused for a run without evidence statistics or without footage.
    """
    model = loaded_model.open_model(run_dir)
    report = read_report(run_dir)
    if model.evidence is None or model.calibration is None:
        raise TrainingRefused(
            f"{run_dir.name}: its evidence was never measured; train with real footage and swapped clips"
        )
    tracks = window_scoring.score_tracks(model, model.calibration, config, progress, levels=levels, rate_hz=_RATE_HZ)
    stats = with_operating_point(model.evidence, tracks)
    (run_dir / REPORT_FILE).write_text(
        json.dumps({**report, "evidence": asdict(stats)}, indent=2) + "\n", encoding="utf-8"
    )
    return stats


def with_operating_point(stats: EvidenceStats, tracks: Iterable[tuple[TrackSource, EvidenceTrack]]) -> EvidenceStats:
    """Returns the statistics with `mean_real` raised to the 90th percentile over real tracks of all conditions.

    `mean_fake` and `detectable` follow from the uncorrupted fakes above it. Raises TrainingRefused without real tracks.
    """
    resized = {condition.name for condition in sampled_clips.size_conditions()}
    means = [
        (source, float(np.average(track.llr, weights=track.weights)))
        for source, track in tracks if source.condition not in resized and track.weights.any()
    ]
    real = [mean for source, mean in means if source.label == 0]
    fake = [mean for source, mean in means if source.label == 1 and source.condition == str(Corruption())]
    if not real:
        raise TrainingRefused("no footage of real faces of at least 64 px")
    mean_real = max(stats.mean_real, float(np.percentile(real, UPPER_PERCENTILE)))
    above = [mean for mean in fake if mean > mean_real]
    return replace(
        stats,
        mean_real=mean_real,
        mean_fake=float(np.mean(above)) if above else mean_real,
        detectable=len(above) / max(1, len(fake)),
    )
