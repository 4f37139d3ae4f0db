from __future__ import annotations

import cv2
import numpy as np
import pytest

from detector.frequency import (
    DCT_BANDS,
    FEATURE_COUNT,
    RADIAL_BINS,
    FrequencyModel,
    frequency_features,
    frequency_logit,
    frequency_score,
    spectrum,
)
from tests.detector.pictures import flat_frequency_model, portrait

RNG = np.random.default_rng(3)
NOISE = RNG.integers(0, 256, (160, 160, 3)).astype(np.uint8)


def stripes(cycles_per_px: float, side_px: int = 160) -> np.ndarray:
    wave = 127 + 100 * np.sin(2 * np.pi * cycles_per_px * np.arange(side_px))
    return np.repeat(np.tile(np.rint(wave), (side_px, 1))[:, :, None], 3, axis=2).astype(np.uint8)


@pytest.mark.parametrize("cycles_per_px", [0.1, 0.2, 0.3, 0.45])
def test_the_spectrum_of_stripes_peaks_at_their_frequency(cycles_per_px: float) -> None:
    radial = spectrum(stripes(cycles_per_px))
    assert radial.shape == (RADIAL_BINS,)
    assert abs(int(radial.argmax()) - int(cycles_per_px / 0.5 * RADIAL_BINS)) <= 1


def test_the_spectrum_of_white_noise_is_flat_at_any_brightness() -> None:
    radial = spectrum(NOISE)
    assert radial[2:].std() < 0.2
    shifted = spectrum((NOISE // 2 + 100).astype(np.uint8))
    assert np.allclose(shifted[2:] + 2 * np.log(2), radial[2:], atol=0.1)


def test_small_faces_have_no_spectrum() -> None:
    assert frequency_features(NOISE, 95.9) is None
    assert frequency_features(NOISE[:90, :90], 120) is None
    features = frequency_features(NOISE, 96)
    assert features is not None
    assert features.shape == (FEATURE_COUNT,)
    assert features.dtype == np.float32


def test_contrast_cancels_in_all_features() -> None:
    rgb = portrait(1).rgb
    full = frequency_features(rgb, 128)
    half = frequency_features((rgb.astype(np.float32) / 2 + 60).astype(np.uint8), 128)
    assert full is not None
    assert half is not None
    assert np.abs(full - half).max() < 0.6, "only rounding is left"


def test_upscaling_lowers_the_tail_of_the_spectrum() -> None:
    soft = cv2.resize(cv2.resize(NOISE, (64, 64), interpolation=cv2.INTER_AREA), (160, 160))
    sharp_features, soft_features = frequency_features(NOISE, 120), frequency_features(soft, 120)
    assert sharp_features is not None
    assert soft_features is not None
    assert soft_features[-1] < sharp_features[-1] - 1, "the highest DCT band loses energy"
    assert soft_features[0] < sharp_features[0] - 1, "the spectrum falls more steeply"


def test_dct_bands_follow_the_order_of_basis_functions() -> None:
    place = np.arange(160) % 8
    for u, band in ((1, 0), (3, 0), (5, 2), (7, 3)):
        wave = np.cos(np.pi * (2 * place + 1) * u / 16)
        rgb = np.repeat((127 + 100 * np.tile(wave, (160, 1)))[:, :, None], 3, axis=2).astype(np.uint8)
        features = frequency_features(rgb, 120)
        assert features is not None
        bands = features[-DCT_BANDS:]
        assert int(bands.argmax()) == band


def test_score_is_a_logistic_of_standardised_features() -> None:
    model = flat_frequency_model()
    features = np.zeros(FEATURE_COUNT, np.float32)
    assert frequency_score(features, model) == pytest.approx(0.5)
    features[:] = 1
    assert frequency_logit(features, model) == pytest.approx(1.5)
    features[:] = 1e6
    assert frequency_logit(features, model) == pytest.approx(6.0), "each feature is held to four deviations"


def test_without_features_or_model_there_is_no_score() -> None:
    assert frequency_score(None, flat_frequency_model()) is None
    assert frequency_score(np.zeros(FEATURE_COUNT, np.float32), None) is None


def test_a_model_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="15"):
        FrequencyModel((0.0,), (1.0,), (1.0,), 0.0)
    with pytest.raises(ValueError, match="positive"):
        FrequencyModel((0.0,) * FEATURE_COUNT, (0.0,) * FEATURE_COUNT, (1.0,) * FEATURE_COUNT, 0.0)
