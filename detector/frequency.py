"""Frequency score of a face crop: a weak cue that depends on picture quality and is undefined for small faces.

It is computed on the native pixels of the crop, before any resizing. Pure.

Sources: azimuthal average of the power spectrum, Durall et al. 2020 (arXiv 2003.01826); block-DCT statistics, Frank et
al. 2020 (arXiv 2003.08685).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from detector.face_crop import NATIVE_LIMIT_PX, luma

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_FACE_PX = 96.0
RADIAL_BINS = 32
DCT_BANDS = 9

# Limits, in cycles per pixel, of the band in which natural pictures follow a power law. Above it is the tail.
_LINE_FROM, _LINE_TO = 0.1, 0.35
_DCT_SIDE = 8
_FLOOR = 1e-6
_TAIL_GROUPS = 4
FEATURE_COUNT = 1 + _TAIL_GROUPS + 1 + DCT_BANDS


@dataclass(frozen=True, slots=True)
class FrequencyModel:
    """Logistic model of the features: `FEATURE_COUNT` numbers each. `mean` and `scale` are those of real faces."""

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    coefficients: tuple[float, ...]
    intercept: float

    def __post_init__(self) -> None:
        sizes = {len(self.mean), len(self.scale), len(self.coefficients)}
        if sizes != {FEATURE_COUNT}:
            raise ValueError(f"frequency model: expected {FEATURE_COUNT} numbers each, got sizes {sorted(sizes)}")
        if not all(scale > 0 for scale in self.scale):
            raise ValueError("frequency model: expected positive scales only")


def spectrum(native_rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Returns float32 (32,): natural log of the power at 0 to 0.5 cycles per pixel, averaged over rings of equal width.

    Taken of the luma without its mean, under a Hann window. `native_rgb` is uint8 (h, w, 3) RGB, at least 8 px a side;
    a few pixels at the right and at the bottom may be left out.
    """
    grey = luma(native_rgb[: _fast_fft_length(native_rgb.shape[0]), : _fast_fft_length(native_rgb.shape[1])])
    window, energy = _window(*grey.shape)
    waves = np.fft.rfft2((grey - grey.mean()) * window)
    power = (waves.real**2 + waves.imag**2) / energy
    ring, counts = _rings(*grey.shape)
    sums = np.bincount(ring.ravel(), weights=power.ravel(), minlength=RADIAL_BINS + 1)[:RADIAL_BINS]
    return np.log(sums / np.maximum(counts, 1) + _FLOOR).astype(np.float32)


@lru_cache(maxsize=NATIVE_LIMIT_PX)
def _fast_fft_length(side_px: int) -> int:
    """Returns the largest length <= `side_px` without prime factors above 5; a prime takes ten times as long."""
    for length in range(side_px, 1, -1):
        rest = length
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return length
    return side_px


@lru_cache(maxsize=32)
def _window(height_px: int, width_px: int) -> tuple[NDArray[np.float32], float]:
    """Returns the Hann window, float32 (h, w), and the sum of its squares."""
    window = np.hanning(height_px)[:, None] * np.hanning(width_px)[None, :]
    return window.astype(np.float32), float((window**2).sum())


@lru_cache(maxsize=32)
def _rings(height_px: int, width_px: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns the ring of every coefficient of the half spectrum, and the ring sizes.

    Coefficients beyond 0.5 cycles per pixel belong to one more ring, which is left out of the sizes.
    """
    radius = np.hypot(np.fft.fftfreq(height_px)[:, None], np.fft.rfftfreq(width_px)[None, :])
    ring = np.minimum((radius / 0.5 * RADIAL_BINS).astype(np.int64), RADIAL_BINS)
    return ring, np.bincount(ring.ravel(), minlength=RADIAL_BINS + 1)[:RADIAL_BINS]


def frequency_features(native_rgb: NDArray[np.uint8], face_px: float) -> NDArray[np.float32] | None:
    """Returns float32 (15,): slope, four tail residuals, line misfit, nine block-DCT band energies; None below 96 px.

    The tail residuals are relative to a straight line in log frequency, fitted over 0.1 to 0.35 cycles per pixel, so
    that contrast and focus cancel to first order. `face_px` is the shorter side of the face box.
    """
    if face_px < MIN_FACE_PX or min(native_rgb.shape[:2]) < MIN_FACE_PX:
        return None
    slope, tail, misfit = _line_residuals(spectrum(native_rgb))
    return np.concatenate([[slope], tail, [misfit], _dct_bands(luma(native_rgb))]).astype(np.float32)


def _line_residuals(radial: NDArray[np.float32]) -> tuple[float, NDArray[np.float64], float]:
    """Returns the slope of the fitted line, the tail residuals (4,), and the standard deviation around the line."""
    frequency = (np.arange(RADIAL_BINS) + 0.5) / RADIAL_BINS * 0.5
    fitted = (frequency >= _LINE_FROM) & (frequency <= _LINE_TO)
    log_frequency = np.log(frequency)
    slope, offset = np.polyfit(log_frequency[fitted], radial[fitted], 1)
    residual = radial - (slope * log_frequency + offset)
    tail = [part.mean() for part in np.array_split(residual[frequency > _LINE_TO], _TAIL_GROUPS)]
    return float(slope), np.array(tail), float(residual[fitted].std())


def _dct_bands(grey: NDArray[np.float32]) -> NDArray[np.float64]:
    """Returns (9,): log mean energy of 8x8 block-DCT coefficients in zig-zag bands, minus the mean over all bands."""
    rows, columns = (side // _DCT_SIDE * _DCT_SIDE for side in grey.shape)
    basis = _dct_basis()
    # Two matrix products, along rows and along columns; one general contraction takes three times as long.
    down = basis @ grey[:rows, :columns].reshape(-1, _DCT_SIDE, columns)
    blocks = down.reshape(-1, _DCT_SIDE, columns // _DCT_SIDE, _DCT_SIDE) @ basis.T
    energy = np.einsum("aubv,aubv->uv", blocks, blocks) / (rows * columns / _DCT_SIDE**2)
    bands = np.array([energy[band].mean() for band in _zigzag_bands()])
    logs = np.log(bands + _FLOOR)
    return np.asarray(logs - logs.mean())


@lru_cache(maxsize=1)
def _dct_basis() -> NDArray[np.float32]:
    """Returns the orthonormal DCT-II matrix (8, 8)."""
    index = np.arange(_DCT_SIDE)
    basis = np.cos(np.pi * (2 * index[None, :] + 1) * index[:, None] / (2 * _DCT_SIDE)) * np.sqrt(2 / _DCT_SIDE)
    basis[0] /= np.sqrt(2)
    return np.asarray(basis, dtype=np.float32)


@lru_cache(maxsize=1)
def _zigzag_bands() -> tuple[NDArray[np.bool_], ...]:
    """Returns nine masks (8, 8) of seven coefficients each: the 63 AC coefficients in zig-zag order."""
    order = sorted(((u, v) for u in range(_DCT_SIDE) for v in range(_DCT_SIDE)), key=lambda uv: (sum(uv), uv))[1:]
    masks = []
    for band in range(DCT_BANDS):
        mask = np.zeros((_DCT_SIDE, _DCT_SIDE), dtype=np.bool_)
        mask[tuple(zip(*order[band * 7 : band * 7 + 7], strict=True))] = True
        masks.append(mask)
    return tuple(masks)


def frequency_logit(features: NDArray[np.float32], model: FrequencyModel) -> float:
    """Returns the log-odds: a weighted sum of the features in standard deviations from real faces, clipped to +-4."""
    z = np.clip((features - np.array(model.mean)) / np.array(model.scale), -4, 4)
    return float(z @ np.array(model.coefficients) + model.intercept)


def frequency_score(features: NDArray[np.float32] | None, model: FrequencyModel | None) -> float | None:
    """Returns 0 (spectrum of real faces) to 1 (spectrum of fakes); None where there are no features or no model."""
    if features is None or model is None:
        return None
    return float(1 / (1 + np.exp(-frequency_logit(features, model))))
