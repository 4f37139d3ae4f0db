from __future__ import annotations

import numpy as np

from stream.heat_map_picture import overlay
from tests.detector.pictures import gradient


def test_overlay_changes_the_hot_corner_and_leaves_the_cold_one() -> None:
    rgb = gradient(224, 224)
    heat = np.zeros((7, 7), np.float32)
    heat[0, 0] = 1.0
    shown = overlay(rgb, heat)
    assert shown.shape == rgb.shape
    assert shown.dtype == np.uint8
    assert np.abs(shown[:24, :24].astype(int) - rgb[:24, :24]).mean() > 20
    assert np.array_equal(shown[150:, 150:], rgb[150:, 150:])
