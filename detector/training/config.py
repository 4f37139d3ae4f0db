"""Settings of a training run."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class Phase(StrEnum):
    """`head`: one dense unit on frozen features. `top`: blocks 13 and 14 with it, blocks 1 to 12 frozen."""

    HEAD = "head"
    TOP = "top"


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """`data_dir` holds `stills.csv` (and `video_pairs.csv`, and real footage in `video_real/` and `clips/`) or
    `{train,val}/{real,fake}` folders.

    `base_weights`: npz of ImageNet weights named as Keras names them, `/` written as `|`. `cache_dir` keeps samples and
    features between runs; `run_dir` gets the result, and an interrupted run goes on there. `research` allows rows that
    are not marked for shipping; its result cannot be exported. `exclude_groups` are people and clips that must stay
    unseen. `epochs` of phase `top` are passes over the pseudo-fakes.
    """

    data_dir: Path
    base_weights: Path
    run_dir: Path
    cache_dir: Path
    phase: Phase = Phase.HEAD
    train_pairs: int = 1500
    val_pairs: int = 400
    clip_frames: int = 24
    clip_variants: int = 3
    folds: int = 5
    epochs: int = 2
    seed: int = 0
    research: bool = False
    exclude_groups: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for name in ("train_pairs", "val_pairs", "clip_frames", "clip_variants", "epochs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if self.folds < 2:
            raise ValueError(f"folds: expected at least 2, got {self.folds}")
