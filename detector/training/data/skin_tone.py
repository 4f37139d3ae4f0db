"""Skin tone of a face by the individual typology angle (ITA), and sampling weights that balance it.

ITA is arctan((L - 50) / b) in degrees, L and b of CIE Lab (D65): large for light skin, negative for dark skin. It is
measured on a photo, so it depends on the light of the scene too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from detector.training.data.datasets import LocatedFace

    Floats = NDArray[np.floating[Any]]

TONES = ("dark", "tan", "intermediate", "light")
# Upper limits in degrees of all tones but the last (Del Bino and Bernerd 2013; their brown and dark are one tone here).
_LIMITS_DEG = (10.0, 28.0, 41.0)
# Middle part of the crop, as fractions of its side: cheeks and nose, without hair and background.
_MIDDLE = (0.36, 0.64)
_LARGEST_RATIO = 6.0


def ita_degrees(crop_rgb: NDArray[np.uint8]) -> float:
    """Returns the ITA, in degrees, of the median colour in the middle of a face crop, uint8 (h, w, 3) RGB."""
    height, width = crop_rgb.shape[:2]
    rows, columns = (slice(int(_MIDDLE[0] * side), max(1, int(_MIDDLE[1] * side))) for side in (height, width))
    pixels = np.ascontiguousarray(crop_rgb[rows, columns], np.float32) / 255
    lab = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB).reshape(-1, 3)
    light, _, yellow = np.median(lab, axis=0)
    return float(np.degrees(np.arctan2(light - 50, max(float(yellow), 1e-3))))


def tone_of(ita_deg: float) -> str:
    """Returns the value of `TONES` for an ITA in degrees."""
    return TONES[int(np.searchsorted(_LIMITS_DEG, ita_deg, side="right"))]


def face_tone(face: LocatedFace) -> str:
    """Returns the tone of the face in its picture."""
    box = face.face.box
    height, width = face.rgb.shape[:2]
    rows = slice(max(0, int(box.top)), min(height, max(1, int(box.bottom))))
    columns = slice(max(0, int(box.left)), min(width, max(1, int(box.right))))
    return tone_of(ita_degrees(face.rgb[rows, columns]))


def balanced_weights(*traits: NDArray[np.str_]) -> Floats:
    """Returns sampling probabilities (n,): the product over traits of 1 / sqrt(share of the row's value), normalised.

    The largest probability is at most six times the smallest.
    """
    weights = np.ones(len(traits[0]))
    for values in traits:
        _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
        weights /= np.sqrt(counts[place] / len(values))
    weights = np.minimum(weights, _LARGEST_RATIO * weights.min())
    return np.asarray(weights / weights.sum())
