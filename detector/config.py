"""Settings of the detector. This package reads no environment variables."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path


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
