"""Options that the training commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from detector.training.config import TrainConfig

DEFAULT_CACHE_DIR = Path(".cache/training")

CacheDir = Annotated[Path, typer.Option(help="Folder that keeps found faces and encoded clips between runs.")]
DataDir = Annotated[Path, typer.Argument(help="Data set, as for `deepguard train`.")]
Exclude = Annotated[
    list[str] | None, typer.Option(help="Group (person or clip) to leave out; may be given several times.")
]
ClipFrames = Annotated[int, typer.Option(help="Frames taken from every clip.", min=2)]
DecoderDir = Annotated[
    Path | None,
    typer.Option(help="Folder with an image autoencoder for pseudo-fakes: *_encoder and *_decoder, .onnx or .xml."),
]
RankWeight = Annotated[
    float, typer.Option(help="Phase deep: weight of the loss that ranks a fake above its real half.", min=0)
]
OffsetWeight = Annotated[float, typer.Option(help="Phase deep: weight of the variance of real faces' logits.", min=0)]
TunedShare = Annotated[
    float, typer.Option(help="Phase deep: share of the tuned network in its average with the pretrained one.", max=1)
]
FakePairs = Annotated[int, typer.Option(help="Number of pseudo-fakes.", min=1)]


def evaluation_config(
    data: Path, cache_dir: Path, exclude: list[str] | None, *, frames: int, pairs: int
) -> TrainConfig:
    """Returns a configuration to read samples with; its training parameters have no meaning."""
    from detector.training.config import TrainConfig

    return TrainConfig(
        data_dir=data, base_weights=data, run_dir=cache_dir, cache_dir=cache_dir, clip_frames=frames,
        val_pairs=pairs, autoencoder_steps=0, exclude_groups=frozenset(exclude or ()),
    )


def corruption_levels(text: str) -> tuple[int, ...]:
    """Parses levels such as "1,3,5". Raises ValueError."""
    levels = tuple(int(part) for part in text.split(",") if part.strip())
    if not set(levels) <= {1, 2, 3, 4, 5}:
        raise ValueError(f"--levels: expected numbers from 1 to 5 with commas between them, got {text!r}")
    return levels
