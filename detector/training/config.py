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
    """What is trained. `head`: one dense unit on frozen features. `top`: the head and blocks 13 and 14.

    `deep`: the head and blocks 4 to 14, first on pseudo-fakes alone.
    """

    HEAD = "head"
    TOP = "top"
    DEEP = "deep"


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Settings of one training run.

    `data_dir` holds `stills.csv`, or `{train,val}/{real,fake}` folders. Beside the table may be `video_pairs.csv`,
    `tool_pairs.csv`, and real footage in `video_real/` and `clips/`.
    `base_weights`: npz of ImageNet weights under their Keras names, `/` written as `|`.
    `cache_dir` keeps samples and features between runs. `run_dir` receives the result, and an interrupted run resumes
    there.
    `research` allows rows that are not marked for shipping; the result of such a run cannot be exported.
    `exclude_groups` are people and clips to leave out.
    `epochs` (phase `top`): passes over the pseudo-fakes.
    `held_out_family`: a family of pseudo-fakes that is evaluated but never trained on.
    `decoder_dir`: folder of the autoencoder behind the families `latent` and `redrawn`; None leaves both out.
    `rank_weight` (phase `deep`): weight of the loss that ranks each fake above its real half.
    `offset_weight` (phase `deep`): weight of the variance of the real halves' logits within a batch.
    `autoencoder_steps`: training steps of the autoencoder behind the family `decoded`; 0 leaves the family out.
    `mask_weight`: weight of the auxiliary loss on the mask of the replaced area.
    `pretrain_steps`, `pretrain_without`, `tune_steps` (phase `deep`): steps without one family, then on everything.
    `tuned_share` (phase `deep`): share of the tuned network in its average with the pretrained one; 1 for no average.
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
    decoder_dir: Path | None = None
    rank_weight: float = 0.5
    offset_weight: float = 0.0
    autoencoder_steps: int = 600
    mask_weight: float = 0.5
    pretrain_steps: int = 1200
    tune_steps: int = 300
    pretrain_without: str = "decoded"
    tuned_share: float = 0.5
    seed: int = 0
    research: bool = False
    exclude_groups: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for name in _AT_LEAST_ONE:
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if self.autoencoder_steps < 0 or self.mask_weight < 0:
            raise ValueError("autoencoder_steps, mask_weight: expected at least 0")
        if min(self.rank_weight, self.offset_weight) < 0 or not 0 < self.tuned_share <= 1:
            raise ValueError("rank_weight, offset_weight: expected at least 0; tuned_share: above 0 and at most 1")
        if self.folds < 2:
            raise ValueError(f"folds: expected at least 2, got {self.folds}")


def smoke_config(config: TrainConfig) -> TrainConfig:
    """Returns the same settings with so little data that a run ends in minutes; it only shows that all parts work."""
    return replace(
        config, train_pairs=8, val_pairs=8, clip_frames=2, clip_variants=2, folds=2, epochs=1, autoencoder_steps=3,
        pretrain_steps=1, tune_steps=1,
    )
