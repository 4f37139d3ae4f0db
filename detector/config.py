"""Settings of the detector. This package reads no environment variables."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Literal


class Precision(StrEnum):
    """Number format of the computation. `auto` is bfloat16 where the CPU has instructions for it, else float32.

    Layers stored in eight bits are computed in eight bits, except under `float32`, which quantizes no activation.
    """

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


def default_weights_dir() -> Path:
    """Returns the folder of the weights that ship with the package."""
    return Path(__file__).resolve().parent / "weights"


@dataclass(frozen=True, slots=True)
class DetectorConfig:
    """Weights folder and limits. `num_threads` is per model.

    `max_batch` bounds memory: the scorer splits longer batches. Raises ValueError for numbers below 1.
    """

    weights_dir: Path = field(default_factory=default_weights_dir)
    num_threads: int = 1
    precision: Precision = Precision.AUTO
    max_batch: int = 4

    def __post_init__(self) -> None:
        for name, value in (("num_threads", self.num_threads), ("max_batch", self.max_batch)):
            if value < 1:
                raise ValueError(f"{name}: expected at least 1, got {value}")


@dataclass(frozen=True, slots=True)
class MtcnnConfig:
    """Settings of the face finder. Sizes are in pixels of the working copy of the frame.

    `work_height_px`: the shorter side of the copy (a landscape frame's height); frames are never enlarged.
    `min_face_px`: longer side of the smallest face that is returned. The default is one step of the reference's
    own pyramid (20 px / .709), so that both use the same levels.
    Thresholds are the reference's: a probability above which a candidate passes to the next stage.
    `precision`: "f32", or "bf16" for CPUs with AMX; "auto" takes bf16 where the CPU supports it.
    `max_cells`, `max_proposals`, `max_faces`: most candidates passed on by P-Net, after its suppression, and by R-Net.
    `max_frame_sizes`: most frame sizes whose compiled graphs are kept.
    """

    work_height_px: int = 360
    min_face_px: float = 20 / 0.709
    scale_factor: float = 0.709
    pnet_threshold: float = 0.6
    rnet_threshold: float = 0.7
    onet_threshold: float = 0.8
    num_threads: int = 1
    precision: Literal["auto", "f32", "bf16"] = "auto"
    max_cells: int = 1024
    max_proposals: int = 256
    max_faces: int = 64
    max_frame_sizes: int = 8

    @property
    def work_area_px(self) -> int:
        """Returns the largest area of the working copy, for very wide pictures; 21:9 still gets the full height."""
        return int(2.4 * self.work_height_px**2)
