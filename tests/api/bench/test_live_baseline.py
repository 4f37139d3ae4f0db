"""The live baseline, with a scorer of known speed instead of mtcnn and Keras."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from api.bench.live_baseline import BaselineResult, BaselineTrial, measure_baseline
from tests.api.clients.test_whip import make_clip

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


class Scorer:
    """Takes a while per sample; remembers what it was given."""

    def __init__(self, takes_s: float) -> None:
        self._takes_s = takes_s
        self.shapes: set[tuple[int, ...]] = set()

    def __call__(self, rgb: NDArray[np.uint8]) -> float:
        assert rgb.dtype == np.uint8
        self.shapes.add(rgb.shape)
        time.sleep(self._takes_s)
        return 0.0


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return make_clip(tmp_path / "clip.webm", "libvpx", deadline="realtime", **{"lag-in-frames": "0"})


@pytest.mark.slow
def test_calls_are_added_until_the_baseline_falls_behind(clip: Path) -> None:
    scorer = Scorer(0.2)
    result = measure_baseline(clip, 3.0, scorer)
    assert scorer.shapes == {(120, 160, 3)}
    assert 200 <= result.sample_ms < 240
    assert 2.0 < result.by_cost <= 2.5
    assert result.kept_up == 2
    assert [played.calls for played in result.observed] == [1, 2, 3]
    assert result.observed[1].sampling >= 0.95 > result.observed[2].sampling


@pytest.mark.slow
def test_the_baseline_may_sustain_no_call(clip: Path) -> None:
    result = measure_baseline(clip, 3.0, Scorer(0.8))
    assert (result.calls, result.kept_up) == (0, 0)
    assert result.by_cost < 0.63


def test_late_samples_count_as_keeping_up_but_not_as_sustained() -> None:
    seen = (
        BaselineTrial(calls=1, sampling=1.0, p95_age_ms=300.0),
        BaselineTrial(calls=2, sampling=0.99, p95_age_ms=501.0),
        BaselineTrial(calls=3, sampling=0.9, p95_age_ms=300.0),
    )
    result = BaselineResult(sample_ms=200.0, decode_ms=1.0, by_cost=2.3, observed=seen)
    assert (result.calls, result.kept_up) == (1, 2)
