"""`deepguard evaluate`: measures a model on a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from api.cli.terminal import run
from api.cli.training_options import (
    DEFAULT_CACHE_DIR,
    CacheDir,
    ClipFrames,
    DataDir,
    Exclude,
    FakePairs,
    corruption_levels,
    evaluation_config,
)


def evaluate(
    model: Annotated[Path, typer.Argument(help="Folder of a finished training run, or of a model.")],
    data: DataDir,
    *,
    out: Annotated[Path, typer.Option(help="Folder for results.json, report.md and conditions.png.")],
    card: Annotated[
        Path | None, typer.Option(help="Also write a model card here; for a run, next to the exported model.")
    ] = None,
    cache_dir: CacheDir = DEFAULT_CACHE_DIR,
    frames: ClipFrames = 8,
    pairs: FakePairs = 200,
    levels: Annotated[
        str, typer.Option(help="Levels of the corruptions: numbers from 1 to 5, with commas; empty: no corruptions.")
    ] = "1,3,5",
    rate: Annotated[
        float, typer.Option(help="Frames per second scored in windows of 10 s; 0: no windows.", min=0, max=30)
    ] = 2.0,
    exclude: Exclude = None,
) -> None:
    """Measures a model on a data set.

    Reports each kind of fake, corruption and level, next to a random head and a sharpness baseline.
    """
    from api.cli.evaluation_rules import plan_of
    from api.cli.progress import step_progress
    from detector.errors import DetectorError
    from detector.training.evaluation import evaluate as evaluation
    from detector.training.evaluation import loaded_model, markdown_report
    from detector.training.evaluation.model_card import card as card_of

    def work() -> None:
        config = evaluation_config(data, cache_dir, exclude, frames=frames, pairs=pairs)
        opened, wanted = loaded_model.open_model(model), corruption_levels(levels)
        manifest = loaded_model.read_card_manifest(model, card, opened.sha256) if card is not None else None
        with step_progress() as tell:
            results = evaluation.evaluate(opened, config, wanted, plan_of(opened, rate), tell)
        markdown_report.write(out, results)
        if card is not None and manifest is not None:
            card.write_text(card_of(manifest, results), encoding="utf-8")
        typer.echo(str(out / markdown_report.MARKDOWN_FILE))

    run(work, DetectorError, ValueError)
