"""`evaluate` applies the same rules as live calls."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest
from msgspec import structs

from api.cli.evaluation_rules import file_rule, live_rule, plan_of
from detector.config import default_weights_dir
from detector.training.evaluation.loaded_model import open_model
from detector.types import EvidenceStats
from stream.config import DecisionConfig, StreamConfig
from stream.cusum import evidence_model
from stream.face_verdicts import judge_faces
from stream.rolling_verdicts import RollingVerdicts
from tests.stream.observations import CLEAR, EVIDENCE, TINY, face, moment, observation

STATS = EvidenceStats(
    mean_real=-1.0, mean_fake=1.0, sd=1.4, correlation_s=0.72, detectable=1.0, real_middle=-1.0, fake_low=1.0
)
SERIES = [
    pytest.param([0.0] * 20, "UNCERTAIN", id="silent"),
    pytest.param([3.0] * 60, "FAKE", id="fake"),
    pytest.param([3.0] * 5, "UNCERTAIN", id="fake, not for long enough"),
    pytest.param([-2.0] * 40, "REAL", id="real"),
    pytest.param([-2.0] * 20 + [0.4] * 40, "UNCERTAIN", id="real, then doubtful"),
    pytest.param([3.0] * 40 + [-4.0] * 40, "FAKE", id="an alarm that is over at the end"),
]


def times(count: int) -> np.ndarray:
    return np.array([observation(sample).pts_s for sample in range(count)])


def live(llrs: list[float]) -> str:
    """Returns the label of a stream with this face: FAKE if a verdict alarms, else the last label."""
    monitor, verdicts = RollingVerdicts("call", 7, 0.3, StreamConfig()), []
    for sample, llr in enumerate(llrs):
        verdicts += monitor.observe(observation(sample, (face(1, llr),)), moment())
    verdicts += monitor.finish(moment())
    return "FAKE" if any(verdict.alarm for verdict in verdicts) else verdicts[-1].label.value


@pytest.mark.parametrize(("llrs", "expected"), SERIES)
def test_it_says_what_a_stream_says(llrs: list[float], expected: str) -> None:
    assert live_rule(STATS)(times(len(llrs)), np.array(llrs), np.ones(len(llrs))) == expected
    assert live(llrs) == expected


@pytest.mark.parametrize(("llr", "weight", "count", "expected"), [
    (1.5, 1.0, 20, "FAKE"), (1.5, 0.5, 20, "UNCERTAIN"), (-1.0, 1.0, 20, "REAL"), (4.0, 1.0, 2, "UNCERTAIN"),
    (3.0, 0.0, 20, "UNCERTAIN"),
])  # fmt: skip
def test_it_says_what_a_file_would(llr: float, weight: float, count: int, expected: str) -> None:
    seen = [([face(1, llr, structs.replace(CLEAR, weight=weight))], "")] * count
    config = DecisionConfig()
    (verdict,) = judge_faces(seen, config, config.min_samples)
    assert file_rule(times(count), np.full(count, llr), np.full(count, weight)) == verdict.label.value == expected


def test_weights_count() -> None:
    llr = np.full(60, 3.0)
    rule = live_rule(STATS)
    assert rule(times(60), llr, np.full(60, TINY.weight)) == "UNCERTAIN"
    assert rule(times(60), llr, np.full(60, CLEAR.weight)) == "FAKE"
    assert rule(np.zeros(0), np.zeros(0), np.zeros(0)) == "UNCERTAIN"


def test_the_measured_evidence_is_what_it_goes_by() -> None:
    made = evidence_model(STATS)
    assert (made.reference, made.gain, made.clear_reference) == (EVIDENCE.reference, EVIDENCE.gain, 0.0)
    blind = EvidenceStats(**{**asdict(STATS), "mean_fake": STATS.mean_real})
    assert live_rule(blind)(times(60), np.full(60, 3.0), np.ones(60)) == "UNCERTAIN"


def test_there_is_no_plan_without_a_rule() -> None:
    model = open_model(default_weights_dir())
    plan = plan_of(model, 2.0)
    assert plan is not None
    assert plan.rate_hz == 2.0
    assert set(plan.rules) == {"live calls", "files"}
    assert plan_of(model, 0.0) is None
    assert plan_of(replace(model, evidence=None), 2.0) is None
    assert plan_of(replace(model, calibration=None), 2.0) is None
