"""`deepguard settle`: sets the alarm limit of a training run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from api.cli.terminal import run
from api.cli.training_options import (
    DEFAULT_CACHE_DIR,
    CacheDir,
    DataDir,
    Exclude,
    corruption_levels,
    evaluation_config,
)


def settle(
    run_dir: Annotated[Path, typer.Argument(help="Folder of a finished training run.")],
    data: DataDir,
    *,
    cache_dir: CacheDir = DEFAULT_CACHE_DIR,
    levels: Annotated[str, typer.Option(help="Levels of the corruptions: numbers from 1 to 5, with commas.")] = "3",
    exclude: Exclude = None,
) -> None:
    """Sets the alarm limit of a training run. Run it before `deepguard export`.

    The limit rises to what genuine faces reach under corruptions and codecs.
    """
    from api.cli.progress import step_progress
    from detector.errors import DetectorError
    from detector.training.evaluation import operating_point

    def work() -> None:
        config, wanted = evaluation_config(data, cache_dir, exclude, frames=2, pairs=1), corruption_levels(levels)
        with step_progress() as tell:
            stats = operating_point.measure_operating_point(run_dir, config, wanted, tell)
        typer.echo(f"genuine faces stay below {stats.mean_real:.2f} nats; {stats.detectable:.0%} of swaps lie above")

    run(work, DetectorError, ValueError)
