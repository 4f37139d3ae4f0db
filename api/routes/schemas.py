"""The shapes of the HTTP answers, for `/docs` and for the tests that hold the answers against them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Percent = float | None


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class ErrorDetail(_Shape):
    """`code` is stable, `message` is for people."""

    code: str
    message: str


class ErrorAnswer(_Shape):
    """Every answer with a status of 400 or more."""

    error: ErrorDetail


class HealthAnswer(_Shape):
    """`problem` says why no model is loaded, or is empty."""

    status: Literal["running"]
    app_name: str
    version: str
    model_loaded: bool
    problem: str


class Model(_Shape):
    """Which model scored; `sha256` is that of its weights."""

    name: str
    version: str
    sha256: str
    calibrated: bool


class Probabilities(_Shape):
    """Percent, calibrated; null where no face could be scored."""

    real: Percent = Field(alias="REAL")
    fake: Percent = Field(alias="FAKE")


class Prediction(_Shape):
    """`confidence` is the percentage of the label, null where that is UNCERTAIN."""

    label: Literal["REAL", "FAKE", "UNCERTAIN"]
    confidence: Percent
    probabilities: Probabilities
    reason: str
    reason_text: str


class FaceQuality(_Shape):
    """`face_px`: shorter side in pixels of the frame; `weight` in 0..1 is how much the face may count."""

    face_px: float
    sharpness: float
    luminance: float
    weight: float


class FaceAnswer(_Shape):
    """One face; `box` is x, y, width, height as shares of the frame; probabilities in 0..1."""

    track: int
    box: tuple[float, float, float, float]
    label: Literal["REAL", "FAKE", "UNCERTAIN"]
    reason: str
    samples: int
    prob_fake: float | None
    llr: float | None
    frequency_score: float | None
    quality: FaceQuality


class _FileAnswer(Prediction):
    """What both kinds of file have: `llr` in natural log units."""

    processing_time: float
    frequency_score: float | None
    faces_detected: int
    llr: float | None
    faces: list[FaceAnswer]
    model: Model | None


class ImageAnswer(_FileAnswer):
    """A picture; `frequency_score` in 0..1, `processing_time` in seconds."""

    adjusted_confidence: Percent
    file_type: Literal["image"]


class FramePredictionAnswer(_Shape):
    """One examined frame, numbered from 1; `prob_fake` in percent."""

    frame_number: int
    pts_s: float
    prob_fake: Percent


class SegmentAnswer(_Shape):
    """A stretch of a video, in media seconds; `prob_fake` in percent, of its most suspicious face."""

    start_s: float
    end_s: float
    label: Literal["REAL", "FAKE", "UNCERTAIN", "NO_FACE"]
    reason: str
    prob_fake: Percent


class VideoAnswer(_FileAnswer):
    """A video; `consistency_score` in percent, `processing_time` in seconds."""

    frames_analyzed: int
    consistency_score: Percent
    total_frames: int
    bad_frames: int
    duration_s: float
    file_type: Literal["video"]
    segments: list[SegmentAnswer]
    frame_predictions: list[FramePredictionAnswer]


class GradcamAnswer(_Shape):
    """`gradcam_image` is a PNG as a data URI."""

    gradcam_image: str
    prediction: Prediction
    layer_name: Literal["block14_sepconv2_act"]


class JobError(ErrorDetail):
    """What a failed job would have answered."""

    status: int


class JobAnswer(_Shape):
    """`progress` in 0..1; `result` is there when `state` is done, `error` when it is failed."""

    job_id: str
    status_url: str
    state: Literal["queued", "running", "done", "failed"]
    progress: float
    done: int
    planned: int
    result: ImageAnswer | VideoAnswer | None = None
    error: JobError | None = None


class Band(_Shape):
    """Probabilities between which nothing is decided, in 0..1."""

    low: float
    high: float


class LimitsAnswer(_Shape):
    """What a client should know before it sends something."""

    version: str
    auth_required: bool
    max_upload_bytes: int
    upload_extensions: list[str]
    max_streams: int
    undecided: Band


class PolicyAnswer(_Shape):
    """The alarm rule in force; null where it needs a model, or one that can keep the budget."""

    false_alarms_per_hour: float
    miss_rate: float
    limit: float | None
    clear_bound: float | None
    reference_llr: float | None
    expected_delay_s: float | None
    evidence: dict[str, float] | None


class SourceProblem(_Shape):
    """Why the last attempt failed."""

    code: str
    message: str


class SourceAnswer(_Shape):
    """A live source, or one that failed in the last minute."""

    stream: str
    source: Literal["whip", "rtp", "rtsp", "rtmp", "hls", "http", "whep"]
    host: str
    call_id: str
    participant_id: str
    state: Literal["connecting", "receiving", "retrying", "failed"]
    attempts: int
    retry_in_s: float | None
    problem: SourceProblem | None


class StreamList(_Shape):
    """Running streams, then those that ended lately, each as `StreamInfo`; and all live sources."""

    streams: list[dict[str, Any]]
    sources: list[SourceAnswer]


class LiveAnswer(_Shape):
    """The process answers."""

    status: Literal["alive", "stalled"]
    loop_lag_ms: float


class ReadyAnswer(_Shape):
    """`reasons` are empty if and only if the service can judge now. `overloaded`: streams are looked at less often than
    they should be."""

    status: Literal["ready", "not_ready"]
    reasons: list[str]
    problem: str
    model: Model | None
    workers_ready: int
    workers_wanted: int
    streams: int
    overloaded: bool
