"""Decision rules of the service, for `deepguard evaluate`: each maps the samples of one face to a label."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detector.training.evaluation.window_scoring import WindowPlan
from stream.config import DecisionConfig, WindowConfig
from stream.cusum import evidence_model
from stream.events import Label
from stream.frame_sampler import Pace, rate_hz_of
from stream.label_decision import LabelDecider
from stream.sprt import combine, decide
from stream.types import FaceObservation, Observation, Quality

if TYPE_CHECKING:
    from detector.training.evaluation.loaded_model import LoadedModel
    from detector.training.evaluation.window_verdicts import Floats, Rule
    from detector.types import EvidenceStats

_TRACK = 1


def plan_of(model: LoadedModel, rate_hz: float) -> WindowPlan | None:
    """Returns the rules to evaluate; None if `rate_hz` is 0 or the evidence of the model was not measured."""
    if model.evidence is None or model.calibration is None or not rate_hz:
        return None
    return WindowPlan({"live calls": live_rule(model.evidence), "files": file_rule}, rate_hz)


def file_rule(_times_s: Floats, llr: Floats, weights: Floats) -> str:
    """Returns the label of a file with these samples, at default settings."""
    config = DecisionConfig()
    evidence = combine(llr.tolist(), weights.tolist(), config.correlation)
    return decide(evidence, config, config.min_samples)[0].value


def live_rule(stats: EvidenceStats) -> Rule:
    """Returns the rule of live calls, at default settings: FAKE once an alarm was raised, otherwise the last label."""
    model, config = evidence_model(stats), DecisionConfig()
    fastest_hz = rate_hz_of(Pace.FAST, WindowConfig().sample_rate_hz)

    def rule(times_s: Floats, llr: Floats, weights: Floats) -> str:
        decider = LabelDecider(config, fastest_hz)
        for time_s, nats, weight in zip(times_s, llr, weights, strict=True):
            decider.observe(_observation(float(time_s), float(nats), float(weight)), model)
            if decider.state(_TRACK, model).alarm:
                return Label.FAKE.value
        return decider.state(_TRACK, model).label.value

    return rule


def _observation(time_s: float, llr: float, weight: float) -> Observation:
    """Returns an observation that holds what decisions use; everything else is empty."""
    quality = Quality(face_px=0.0, sharpness=0.0, luminance=0.0, weight=weight)
    face = FaceObservation(track=_TRACK, box=(0.0, 0.0, 1.0, 1.0), confidence=1.0, quality=quality, llr=llr)
    return Observation(
        stream="", epoch=0, sequence=0, cell=0, frame_number=0, pts_s=time_s, capture_s=time_s, width_px=0,
        height_px=0, faces=(face,),
    )
