"""Reference spectrum of real faces in calls: measured percentiles that ship beside the weights."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

from detector.frequency import RADIAL_BINS

REAL_SPECTRUM_FILE = Path(__file__).resolve().parent / "weights" / "real_spectrum.json"


@dataclass(frozen=True, slots=True)
class RealSpectrum:
    """Percentiles 5, 50 and 95 of `detector.frequency.spectrum` over `faces` real faces, 32 numbers each.

    Each number is the natural log of the power, at 0 to 0.5 cycles per pixel. `source` describes the faces.
    """

    faces: int
    source: str
    low: tuple[float, ...]
    middle: tuple[float, ...]
    high: tuple[float, ...]

    def __post_init__(self) -> None:
        sizes = {len(self.low), len(self.middle), len(self.high)}
        if sizes != {RADIAL_BINS}:
            raise ValueError(f"spectrum of real faces: expected {RADIAL_BINS} numbers each, got sizes {sorted(sizes)}")
        if not all(low <= middle <= high for low, middle, high in zip(self.low, self.middle, self.high, strict=True)):
            raise ValueError("spectrum of real faces: expected low <= middle <= high")


@lru_cache(maxsize=1)
def shipped_real_spectrum() -> RealSpectrum:
    """Returns the reference spectrum that ships with the package."""
    return read_real_spectrum(REAL_SPECTRUM_FILE)


def read_real_spectrum(path: Path) -> RealSpectrum:
    """Reads a reference spectrum. Raises OSError, ValueError, KeyError or TypeError for any other file."""
    content = json.loads(path.read_bytes())
    low, middle, high = (tuple(float(number) for number in content[name]) for name in ("low", "middle", "high"))
    return RealSpectrum(int(content["faces"]), str(content["source"]), low, middle, high)


def write_real_spectrum(measured: RealSpectrum, path: Path) -> None:
    """Writes a reference spectrum as JSON."""
    path.write_text(json.dumps(asdict(measured), indent=1) + "\n", encoding="utf-8")
