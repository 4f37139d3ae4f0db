from __future__ import annotations

import numpy as np

from detector.gradcam import heat_maps


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
