"""JSON answers about files, the alarm rule and the service itself, and the form of all errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from stream.cusum import EvidenceModel
from stream.events import FaceVerdict, Label, Reason
from stream.types import ModelRef

Percent = float | None
"""0 to 100, calibrated; None where no face could be scored."""

FileLabel = Literal["REAL", "FAKE", "UNCERTAIN"]

_OF_STREAMS = frozenset({"suspicion", "alarm"})


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all answers."""


class ErrorDetail(Answer, frozen=True, kw_only=True):
    """An error: `code` is stable, `message` is a sentence for people."""

    code: str
    message: str


class ErrorAnswer(Answer, frozen=True, kw_only=True):
    """Body of every answer with a status of 400 or more."""

    error: ErrorDetail


class HealthAnswer(Answer, frozen=True, kw_only=True):
    """State of the service; `problem` says why no model is loaded, or is empty."""

    status: Literal["running"]
    app_name: str
    version: str
    model_loaded: bool
    problem: str


class Probabilities(Answer, frozen=True, kw_only=True):
    """Calibrated probabilities in percent; null where no face could be scored."""

    real: Percent = msgspec.field(name="REAL")
    fake: Percent = msgspec.field(name="FAKE")


class LabelAnswer(Answer, frozen=True, kw_only=True):
    """A label; `confidence` is the probability of the label in percent, null where the label is UNCERTAIN."""

    label: FileLabel
    confidence: Percent
    probabilities: Probabilities


class Prediction(LabelAnswer, frozen=True, kw_only=True):
    """A label with the reason for it."""

    reason: Reason
    reason_text: str


if TYPE_CHECKING:
    FaceAnswer = FaceVerdict
else:
    FaceAnswer = msgspec.defstruct(
        "FaceAnswer",
        [(field.name, field.type) for field in msgspec.structs.fields(FaceVerdict) if field.name not in _OF_STREAMS],
        frozen=True,
        kw_only=True,
        namespace={"__doc__": "One face of a file: a face of a verdict event, without what only a stream has."},
    )


class ImageAnswer(LabelAnswer, frozen=True, kw_only=True):
    """Verdict on an image. `frequency_score` is in 0..1, `processing_time` in seconds, `llr` in nats."""

    frequency_score: float | None
    adjusted_confidence: Percent
    processing_time: float
    file_type: Literal["image"] = "image"
    faces_detected: int
    reason: Reason
    reason_text: str
    llr: float | None
    faces: tuple[FaceAnswer, ...]
    model: ModelRef | None


class FramePredictionAnswer(Answer, frozen=True, kw_only=True):
    """One analyzed frame, numbered from 1; `prob_fake` is in percent."""

    frame_number: int
    pts_s: float
    prob_fake: Percent


class SegmentAnswer(Answer, frozen=True, kw_only=True):
    """A stretch of a video, in seconds of media; `prob_fake` is in percent, of its most suspicious face."""

    start_s: float
    end_s: float
    label: Label
    reason: Reason
    prob_fake: Percent


class VideoAnswer(LabelAnswer, frozen=True, kw_only=True):
    """Verdict on a video. `consistency_score` is in percent, `processing_time` in seconds, `llr` in nats."""

    frames_analyzed: int
    consistency_score: Percent
    total_frames: int
    faces_detected: int
    processing_time: float
    file_type: Literal["video"] = "video"
    frame_predictions: tuple[FramePredictionAnswer, ...]
    frequency_score: float | None
    bad_frames: int
    duration_s: float
    segments: tuple[SegmentAnswer, ...]
    reason: Reason
    reason_text: str
    llr: float | None
    faces: tuple[FaceAnswer, ...]
    model: ModelRef | None


class GradcamAnswer(Answer, frozen=True, kw_only=True):
    """A heat map; `gradcam_image` is a PNG as a data URI."""

    gradcam_image: str
    prediction: Prediction
    layer_name: Literal["block14_sepconv2_act"] = "block14_sepconv2_act"


class Band(Answer, frozen=True, kw_only=True):
    """Probabilities between which no decision is made, in 0..1."""

    low: float
    high: float


class LimitsAnswer(Answer, frozen=True, kw_only=True):
    """Limits and capabilities that a client needs before it sends media."""

    version: str
    auth_required: bool
    max_upload_bytes: int
    upload_extensions: tuple[str, ...]
    max_streams: int
    undecided: Band


class PolicyAnswer(Answer, frozen=True, kw_only=True):
    """The alarm rule in force; null where it needs a model, or a model that can keep the budget."""

    false_alarms_per_hour: float
    miss_rate: float
    limit: float | None
    clear_bound: float | None
    reference_llr: float | None
    expected_delay_s: float | None
    evidence: EvidenceModel | None


class LiveAnswer(Answer, frozen=True, kw_only=True):
    """Liveness: whether the event loop keeps time."""

    status: Literal["alive", "stalled"]
    loop_lag_ms: float


class ReadyAnswer(Answer, frozen=True, kw_only=True):
    """Readiness: `reasons` is empty if and only if the service can score now.

    `overloaded` says that streams are sampled less often than configured.
    """

    status: Literal["ready", "not_ready"]
    reasons: tuple[str, ...]
    problem: str
    model: ModelRef | None
    workers_ready: int
    workers_wanted: int
    streams: int
    overloaded: bool
