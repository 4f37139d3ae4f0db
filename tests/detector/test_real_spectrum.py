from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from detector.errors import TrainingRefused
from detector.frequency import RADIAL_BINS, spectrum
from detector.real_spectrum import RealSpectrum, read_real_spectrum, shipped_real_spectrum, write_real_spectrum
from detector.training.evaluation.measure_real_spectrum import measure_spectra, summarise
from tests.detector.pictures import portrait

if TYPE_CHECKING:
    from pathlib import Path


def test_the_shipped_spectrum_names_its_source() -> None:
    shipped = shipped_real_spectrum()
    assert shipped.faces >= 500
    assert "real photos" in shipped.source
    assert all(later < earlier for earlier, later in zip(shipped.middle, shipped.middle[1:], strict=False)), "falls"


def test_a_spectrum_round_trips_through_its_file(tmp_path: Path) -> None:
    spectra = np.random.default_rng(0).normal(0, 1, (200, RADIAL_BINS)).astype(np.float32)
    measured = summarise(spectra, "noise")
    write_real_spectrum(measured, tmp_path / "noise.json")
    assert read_real_spectrum(tmp_path / "noise.json") == measured
    assert measured.faces == 200
    assert measured.low[3] == pytest.approx(np.percentile(spectra[:, 3], 5), abs=1e-3)
    assert measured.high[3] == pytest.approx(np.percentile(spectra[:, 3], 95), abs=1e-3)


def test_faces_are_degraded_before_measurement() -> None:
    faces = [portrait(seed, 512) for seed in range(12)]
    spectra = measure_spectra(faces)
    assert 0 < len(spectra) < 12, "some become too small"
    assert spectra.shape[1] == RADIAL_BINS
    assert np.array_equal(spectra, measure_spectra(faces)), "the same every time"
    as_it_is = spectrum(faces[0].rgb[128:384, 128:384])
    assert spectra[:, -4:].mean() != pytest.approx(as_it_is[-4:].mean(), abs=0.01)


def test_too_few_faces_are_refused() -> None:
    with pytest.raises(TrainingRefused, match="99 faces"):
        summarise(np.zeros((99, RADIAL_BINS), np.float32), "few")


def test_unordered_percentiles_are_refused() -> None:
    flat, high = (0.0,) * RADIAL_BINS, (1.0,) * RADIAL_BINS
    with pytest.raises(ValueError, match="low <= middle"):
        RealSpectrum(1, "", high, flat, high)
    with pytest.raises(ValueError, match="expected 32"):
        RealSpectrum(1, "", flat[1:], flat, high)
