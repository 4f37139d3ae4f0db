from __future__ import annotations

import numpy as np
import pytest

from detector.training.data.skin_tone import TONES, balanced_weights, ita_degrees, tone_of

# sRGB colours of a light, a tan and a dark skin.
SKINS = {"light": (241, 206, 182), "tan": (198, 146, 108), "dark": (82, 51, 36)}


def flat(colour: tuple[int, int, int]) -> np.ndarray:
    return np.full((90, 60, 3), colour, np.uint8)


@pytest.mark.parametrize(("tone", "colour"), SKINS.items())
def test_tones_of_known_skins(tone: str, colour: tuple[int, int, int]) -> None:
    assert tone_of(ita_degrees(flat(colour))) == tone


def test_only_the_middle_counts() -> None:
    face = flat(SKINS["dark"])
    face[:20] = face[70:] = 255
    assert ita_degrees(face) == ita_degrees(flat(SKINS["dark"]))


def test_tones_are_in_order_of_the_angle() -> None:
    assert [tone_of(degrees) for degrees in (-50.0, 20.0, 35.0, 60.0)] == list(TONES)
    assert tone_of(41.0) == "light"


def test_rare_values_are_drawn_more_often_but_not_without_limit() -> None:
    tones = np.array(["light"] * 90 + ["dark"] * 10)
    weights = balanced_weights(tones)
    assert weights.sum() == pytest.approx(1)
    assert weights[-1] / weights[0] == pytest.approx(3)
    sources = np.array(["many"] * 99 + ["one"])
    both = balanced_weights(tones, sources)
    assert both[-1] / both.min() == pytest.approx(6), "29.8 without the limit"
    assert balanced_weights(np.array(["same"] * 4)) == pytest.approx([0.25] * 4)
