from __future__ import annotations

import numpy as np

from detector.gradcam import heat_maps, overlay
from tests.detector.pictures import gradient


def test_maps_show_evidence_for_fake_only() -> None:
    evidence = np.zeros((2, 7, 7), np.float32)
    evidence[0, 1, 2], evidence[0, 3, 3], evidence[0, 5, 5] = 4.0, 2.0, -8.0
    evidence[1] = -1.0
    maps = heat_maps(evidence)
    assert maps.dtype == np.float32
    assert maps[0, 1, 2] == 1.0
    assert maps[0, 3, 3] == 0.5
    assert maps[0, 5, 5] == 0.0
    assert not maps[1].any(), "no evidence, no heat"


def test_no_crops_give_no_maps() -> None:
    assert heat_maps(np.zeros((0, 7, 7), np.float32)).shape == (0, 7, 7)


def test_overlay_changes_the_hot_corner_and_leaves_the_cold_one() -> None:
    rgb = gradient(224, 224)
    heat = np.zeros((7, 7), np.float32)
    heat[0, 0] = 1.0
    shown = overlay(rgb, heat)
    assert shown.shape == rgb.shape
    assert shown.dtype == np.uint8
    assert np.abs(shown[:24, :24].astype(int) - rgb[:24, :24]).mean() > 20
    assert np.array_equal(shown[150:, 150:], rgb[150:, 150:])
