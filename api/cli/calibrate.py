"""`deepguard calibrate`: fits the probabilities of an imported model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from api.cli.terminal import run
from api.cli.training_options import (
    DEFAULT_CACHE_DIR,
    CacheDir,
    ClipFrames,
    Exclude,
    FakePairs,
    evaluation_config,
)


def calibrate(
    model: Annotated[Path, typer.Argument(help="Folder of a model made by `deepguard import-weights`.")],
    data: Annotated[
        Path, typer.Argument(help="Data set, as for `deepguard train`, with faces that the model was not trained on.")
    ],
    *,
    cache_dir: CacheDir = DEFAULT_CACHE_DIR,
    frames: ClipFrames = 8,
    pairs: FakePairs = 200,
    exclude: Exclude = None,
) -> None:
    """Calibrates an imported model. Writes the calibration and the data it was fitted on to the manifest.

    Refuses a model from `deepguard train`: training calibrates it on folds that its network has not seen.
    """
    from api.cli.progress import step_progress
    from detector.errors import DetectorError
    from detector.training.evaluation import calibrate as calibration

    def work() -> None:
        config = evaluation_config(data, cache_dir, exclude, frames=frames, pairs=pairs)
        with step_progress() as tell:
            manifest = calibration.recalibrate(model, config, tell)
        told = "measured" if manifest.evidence is not None else "not measured: no real footage, or no swapped clips"
        typer.echo(f"{model}: {manifest.name} {manifest.version} is calibrated; evidence in streams {told}")

    run(work, DetectorError, ValueError)
