"""Settings of the detector; read from the environment by nobody here."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path


class Precision(StrEnum):
    """What the network computes in. `auto` is bfloat16 where the CPU has instructions for it, else float32.

    Layers that are stored in eight bits are computed in eight bits, but for `float32`, which rounds no activation.
    """

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


def default_weights_dir() -> Path:
    """The folder that ships with the package."""
    return Path(__file__).resolve().parent / "weights"


@dataclass(frozen=True, slots=True)
class DetectorConfig:
    """`max_batch` bounds memory, not callers: longer batches are cut. `num_threads` is per model."""

    weights_dir: Path = field(default_factory=default_weights_dir)
    num_threads: int = 1
    precision: Precision = Precision.AUTO
    max_batch: int = 4

    def __post_init__(self) -> None:
        for name, value in (("num_threads", self.num_threads), ("max_batch", self.max_batch)):
            if value < 1:
                raise ValueError(f"{name}: expected at least 1, got {value}")
