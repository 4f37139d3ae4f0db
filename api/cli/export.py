"""`deepguard export`: turns a training run into a model for serving."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from api.cli.optional_dependencies import with_extra
from api.cli.terminal import run


def export(
    run_dir: Annotated[Path, typer.Argument(help="Folder of a finished training run.")],
    *,
    out: Annotated[Path, typer.Option(help="Folder of the exported model, for MODEL_PATH.")],
    version: Annotated[str, typer.Option(help="Version of the model.")],
) -> None:
    """Exports a training run as a model for serving."""
    from detector.errors import DetectorError

    def work() -> None:
        manifest = with_extra("detector.training.checkpoints.export").export(run_dir, out, version)
        typer.echo(f"{out}: {manifest.name} {manifest.version}, sha256 {manifest.sha256}")

    run(work, DetectorError)
