"""`deepguard import-weights`: turns weights of a PyTorch Xception into a model for serving."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from api.cli.terminal import run


def import_weights(
    file: Annotated[
        Path, typer.Argument(help="State dict of a PyTorch Xception: .safetensors, or .pth written by torch.save.")
    ],
    *,
    out: Annotated[Path, typer.Option(help="Folder of the imported model, for MODEL_PATH.")],
    name: Annotated[str, typer.Option(help="Name of the model.")] = "imported-xception",
    version: Annotated[str, typer.Option(help="Version of the model.")] = "1",
    size: Annotated[
        int, typer.Option(help="Side of the network's input in pixels: 299 (FaceForensics++) or 256 (DeepfakeBench).")
    ] = 299,
    mean: Annotated[
        str, typer.Option(help="Mean of each input channel, 0 to 1, in the order of --colour.")
    ] = "0.5,0.5,0.5",
    std: Annotated[
        str, typer.Option(help="Standard deviation of each input channel, in the order of --colour.")
    ] = "0.5,0.5,0.5",
    colour: Annotated[str, typer.Option(help="Order of the input channels: rgb or bgr.")] = "rgb",
    fake_class: Annotated[int, typer.Option(help="Index of the output that stands for fake.", min=0, max=1)] = 1,
) -> None:
    """Converts Xception weights into a model for serving. Executes no code from the file.

    The model is not calibrated, and verdicts say so, until `deepguard calibrate` has run.
    """
    from detector.errors import DetectorError
    from detector.training.checkpoints import import_checkpoint

    def work() -> None:
        source = import_checkpoint.CheckpointFormat(
            size, colour, import_checkpoint.parse_triple(mean), import_checkpoint.parse_triple(std), fake_class
        )
        manifest = import_checkpoint.import_weights(file, out, source, name, version)
        typer.echo(f"{out}: {manifest.name} {manifest.version}, sha256 {manifest.sha256}, not calibrated")

    run(work, DetectorError, ValueError)
