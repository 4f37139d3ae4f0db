"""Tone mapping of HDR video (BT.2100 PQ and HLG) to SDR (BT.709 primaries, gamma 2.4), as players do for SDR screens.

Formulas: PQ and HLG after ITU-R BT.2100-2; reference white 203 cd/m2 after BT.2408; roll-off after the EETF of
BT.2390-8. Light up to about 100 cd/m2, the range of faces, passes unchanged.
"""

from __future__ import annotations

from enum import Enum
from functools import cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

WHITE_NITS, PEAK_NITS = 203.0, 1000.0
_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
_HLG_A, _HLG_B, _HLG_C = 0.17883277, 0.28466892, 0.55991073
_HLG_GAMMA = 1.2
_BT2020_LUMA = (0.2627, 0.6780, 0.0593)
_BT2020_TO_BT709 = np.array(
    [[1.660491, -0.587641, -0.072850], [-0.124550, 1.132900, -0.008349], [-0.018151, -0.100579, 1.118730]], np.float32
)
_STEPS = 4096


class HdrTransfer(Enum):
    """The transfer function of an HDR signal."""

    PQ = "pq"
    HLG = "hlg"


def tone_mapped(rgb: NDArray[np.uint16], transfer: HdrTransfer) -> NDArray[np.uint8]:
    """Returns SDR RGB uint8 (h, w, 3) of a full-range BT.2020 HDR picture, uint16 (h, w, 3)."""
    light = _light_of_code(transfer)[rgb >> 4]
    if transfer is HdrTransfer.HLG:
        scene = cv2.transform(light, np.array([_BT2020_LUMA], np.float32))
        light = light * np.power(np.maximum(scene, 1e-6), _HLG_GAMMA - 1)[..., None] * np.float32(PEAK_NITS)
    linear = np.maximum(cv2.transform(light, _BT2020_TO_BT709), 0)
    brightest = linear.max(axis=2)
    place = np.clip(np.sqrt(brightest / PEAK_NITS) * (_STEPS - 1), 0, _STEPS - 1).astype(np.int32)
    shown = linear * _roll_off()[place][..., None]
    code = cv2.pow(np.clip(shown / WHITE_NITS, 0, 1).astype(np.float32), 1 / 2.4)
    return np.asarray(np.rint(code * 255), np.uint8)


def pq_of_nits(nits: Floats | float) -> Floats:
    """Returns the PQ signal (0 to 1) of light in cd/m2."""
    power = np.power(np.asarray(nits, np.float64) / 10_000, _M1)
    return np.asarray(np.power((_C1 + _C2 * power) / (1 + _C3 * power), _M2), np.float32)


def nits_of_pq(signal: Floats) -> Floats:
    """Returns light in cd/m2 of a PQ signal (0 to 1)."""
    root = np.power(np.asarray(signal, np.float64), 1 / _M2)
    return np.asarray(10_000 * np.power(np.maximum(root - _C1, 0) / (_C2 - _C3 * root), 1 / _M1), np.float32)


@cache
def _light_of_code(transfer: HdrTransfer) -> Floats:
    """Returns light by 12-bit code: cd/m2 for PQ, scene light (0 to 1) for HLG."""
    signal = np.linspace(0, 1, _STEPS, dtype=np.float32)
    if transfer is HdrTransfer.PQ:
        return nits_of_pq(signal)
    bright = (np.exp((signal - _HLG_C) / _HLG_A) + _HLG_B) / 12
    return np.asarray(np.where(signal <= 0.5, signal**2 / 3, bright), np.float32)


@cache
def _roll_off() -> Floats:
    """Returns the factor on light, indexed by the square root of the brightest component over `PEAK_NITS`, in `_STEPS`
    steps.

    BT.2390 EETF from a peak of `PEAK_NITS` to `WHITE_NITS`: the identity below its knee, a cubic Hermite spline above.
    """
    nits = np.square(np.linspace(0, 1, _STEPS)) * PEAK_NITS
    peak = float(pq_of_nits(PEAK_NITS))
    limit = float(pq_of_nits(WHITE_NITS)) / peak
    knee = 1.5 * limit - 0.5
    signal = np.asarray(pq_of_nits(np.asarray(nits, np.float32)), np.float64) / peak
    t = np.clip((signal - knee) / (1 - knee), 0, 1)
    spline = (
        (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * limit
    )
    mapped = nits_of_pq(np.asarray(np.where(signal < knee, signal, spline) * peak, np.float32))
    return np.asarray(np.where(nits > 1e-3, mapped / np.maximum(nits, 1e-3), 1.0), np.float32)
