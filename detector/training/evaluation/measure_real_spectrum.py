"""Measurement of the reference spectrum of real faces, which reports show beside the spectrum of a suspicious face.

    python -m detector.training.evaluation.measure_real_spectrum FOLDER detector/weights/real_spectrum.json

FOLDER has a `stills.csv`, or `{train,val}/real` with pictures, as for training. Every real photo marked for
shipping is degraded once, as in training (resolution, blur, noise, light, codec), because a photo is sharper than any
call.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from detector.config import DetectorConfig
from detector.errors import FaceNotCroppable, TrainingRefused
from detector.face_crop import crop_face
from detector.factory import build_finder
from detector.frequency import MIN_FACE_PX, spectrum
from detector.real_spectrum import RealSpectrum, write_real_spectrum
from detector.training.data import datasets, degradations, samples

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from detector.training.data.datasets import LocatedFace, Still

SEED = 0
_PERCENTILES = (5, 50, 95)
_MIN_FACES = 100


def measure_spectra(faces: Iterable[LocatedFace], seed: int = SEED) -> NDArray[np.float32]:
    """Returns float32 (n, 32): the spectrum of each face that is large enough after a degradation."""
    spectra = (_degraded_spectrum(face, (seed, number)) for number, face in enumerate(faces))
    found = [bands for bands in spectra if bands is not None]
    return np.stack(found) if found else np.zeros((0, 32), np.float32)


def _degraded_spectrum(face: LocatedFace, seed: tuple[int, int]) -> NDArray[np.float32] | None:
    rng = np.random.default_rng(seed)
    call = degradations.draw(rng, min(face.face.box.width, face.face.box.height))
    try:
        crop = crop_face(*degradations.apply(face.rgb, face.face, call))
    except FaceNotCroppable:
        return None
    large = min(crop.face_px, *crop.native_rgb.shape[:2]) >= MIN_FACE_PX
    return spectrum(crop.native_rgb) if large else None


def summarise(spectra: NDArray[np.float32], source: str) -> RealSpectrum:
    """Returns the percentiles of the spectra. Raises TrainingRefused for fewer than 100 faces."""
    if len(spectra) < _MIN_FACES:
        raise TrainingRefused(f"{len(spectra)} faces of at least {MIN_FACE_PX:.0f} px, expected {_MIN_FACES} or more")
    low, middle, high = np.percentile(spectra, _PERCENTILES, axis=0)
    return RealSpectrum(
        faces=len(spectra), source=source, low=_numbers(low), middle=_numbers(middle), high=_numbers(high)
    )


def _numbers(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(round(float(value), 4) for value in values)


def real_stills(folder: Path) -> list[Still]:
    """Returns the real photos marked for shipping. Raises TrainingRefused for a table with missing columns."""
    table = folder / "stills.csv"
    stills = datasets.read_stills(table) if table.is_file() else datasets.read_folders(folder)
    return [still for still in stills if still.label == "real" and still.use == datasets.SHIP]


def _located(stills: Iterable[Still]) -> Iterator[LocatedFace]:
    with tempfile.TemporaryDirectory() as folder:
        locator = datasets.FaceLocator(build_finder(DetectorConfig()), Path(folder) / "faces.json")
        yield from (face for face in datasets.still_faces(stills, locator) if samples.is_usable(face))


def _source(stills: Iterable[Still]) -> str:
    counts: dict[str, int] = {}
    for still in stills:
        counts[still.source] = counts.get(still.source, 0) + 1
    listed = ", ".join(f"{count} {source}" for source, count in sorted(counts.items()))
    return f"real photos of the training data ({listed}), each degraded once like a call"


def main() -> None:
    """Parses the command line and writes the reference spectrum."""
    parser = argparse.ArgumentParser(description="Measure the spectrum of real faces.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    stills = real_stills(arguments.folder)
    write_real_spectrum(summarise(measure_spectra(_located(stills)), _source(stills)), arguments.target)


if __name__ == "__main__":
    main()
