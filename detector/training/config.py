"""Settings of a training run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


_AT_LEAST_ONE = (
    "train_pairs", "val_pairs", "clip_frames", "clip_variants", "epochs", "pretrain_steps", "tune_steps",
)  # fmt: skip


class Phase(StrEnum):
    """`head`: one dense unit on frozen features. `top`: blocks 13 and 14 with it, blocks 1 to 12 frozen. `deep`: blocks
    4 to 14, first on pseudo-fakes alone."""

    HEAD = "head"
    TOP = "top"
    DEEP = "deep"


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """`data_dir` holds `stills.csv` (and `video_pairs.csv`, and real footage in `video_real/` and `clips/`) or
    `{train,val}/{real,fake}` folders.

    `base_weights`: npz of ImageNet weights named as Keras names them, `/` written as `|`. `cache_dir` keeps samples and
    features between runs; `run_dir` gets the result, and an interrupted run goes on there. `research` allows rows that
    are not marked for shipping; its result cannot be exported. `exclude_groups` are people and clips that must stay
    unseen. `epochs` of phase `top` are passes over the pseudo-fakes. `held_out_family` is a kind of pseudo-fakes that
    is only judged, never trained on. `autoencoder_steps` train the network that draws the family `decoded` (0: there is
    no such family); `mask_weight` is that of the auxiliary loss, which says where a face was replaced. Phase `deep`
    takes `pretrain_steps` without the family `pretrain_without`, then `tune_steps` with everything.
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
    held_out_family: str = ""
    autoencoder_steps: int = 600
    mask_weight: float = 0.5
    pretrain_steps: int = 1200
    tune_steps: int = 300
    pretrain_without: str = "decoded"
    seed: int = 0
    research: bool = False
    exclude_groups: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for name in _AT_LEAST_ONE:
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if self.autoencoder_steps < 0 or self.mask_weight < 0:
            raise ValueError("autoencoder_steps, mask_weight: expected at least 0")
        if self.folds < 2:
            raise ValueError(f"folds: expected at least 2, got {self.folds}")


def smoke_config(config: TrainConfig) -> TrainConfig:
    """The same with so little of everything that a run ends in minutes: it shows that all parts work, no more."""
    return replace(
        config, train_pairs=8, val_pairs=8, clip_frames=2, clip_variants=2, folds=2, epochs=1, autoencoder_steps=3,
        pretrain_steps=1, tune_steps=1,
    )
