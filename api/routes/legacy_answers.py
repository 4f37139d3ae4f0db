"""Builds the answers of /predict and /gradcam from the verdict on a file. No I/O.

Percentages are 0 to 100 with two decimals. `confidence` is the probability of the label; there is none where the label
is UNCERTAIN. `probabilities` are calibrated, and null where no face could be scored. Frames are numbered from 1.
`adjusted_confidence` equals `confidence`: the calibrated probability contains the frequency score already.
"""

from __future__ import annotations

import base64
from typing import Any

import msgspec

from api.routes.schemas import (
    FaceAnswer,
    FileLabel,
    FramePredictionAnswer,
    GradcamAnswer,
    ImageAnswer,
    Prediction,
    Probabilities,
    SegmentAnswer,
    VideoAnswer,
)
from stream.events import REASON_TEXT, Label
from stream.file_verdict import FileSegment, FileVerdict, FramePrediction

APP_NAME = "DeepGuard: Deepfake Face Detection System"

_LABELS: dict[Label, FileLabel] = {Label.REAL: "REAL", Label.FAKE: "FAKE"}


def predict_answer(verdict: FileVerdict, took_s: float) -> ImageAnswer | VideoAnswer:
    """Returns the answer of POST /predict."""
    return _image(verdict, took_s) if verdict.file_type == "image" else _video(verdict, took_s)


def gradcam_answer(verdict: FileVerdict, heat_map_png: bytes) -> GradcamAnswer:
    """Returns the answer of POST /gradcam."""
    return GradcamAnswer(
        gradcam_image="data:image/png;base64," + base64.b64encode(heat_map_png).decode(),
        prediction=Prediction(**_label(verdict), **_reason(verdict)),
    )


def percent(share: float | None) -> float | None:
    """Converts 0..1 to 0..100 with two decimals."""
    return None if share is None else round(share * 100, 2)


def _image(verdict: FileVerdict, took_s: float) -> ImageAnswer:
    label = _label(verdict)
    return ImageAnswer(
        **label,
        **_reason(verdict),
        **_evidence(verdict),
        adjusted_confidence=label["confidence"],
        processing_time=round(took_s, 3),
    )


def _video(verdict: FileVerdict, took_s: float) -> VideoAnswer:
    return VideoAnswer(
        **_label(verdict),
        **_reason(verdict),
        **_evidence(verdict),
        frames_analyzed=verdict.frames_analyzed,
        consistency_score=percent(verdict.consistency),
        total_frames=verdict.total_frames,
        processing_time=round(took_s, 3),
        frame_predictions=tuple(_frame(frame) for frame in verdict.frame_predictions),
        bad_frames=verdict.bad_frames,
        duration_s=round(verdict.duration_s, 3),
        segments=tuple(_segment(segment) for segment in verdict.segments),
    )


def _label(verdict: FileVerdict) -> dict[str, Any]:
    fake = percent(verdict.prob_fake)
    real = None if fake is None else round(100 - fake, 2)
    return {
        "label": _LABELS.get(verdict.label, "UNCERTAIN"),
        "confidence": {Label.FAKE: fake, Label.REAL: real}.get(verdict.label),
        "probabilities": Probabilities(real=real, fake=fake),
    }


def _reason(verdict: FileVerdict) -> dict[str, Any]:
    return {"reason": verdict.reason, "reason_text": REASON_TEXT[verdict.reason]}


def _evidence(verdict: FileVerdict) -> dict[str, Any]:
    return {
        "llr": _rounded(verdict.llr, 4),
        "frequency_score": _rounded(verdict.frequency_score, 4),
        "faces_detected": verdict.faces_detected,
        "faces": tuple(msgspec.convert(face, FaceAnswer, from_attributes=True) for face in verdict.faces),
        "model": verdict.model,
    }


def _frame(frame: FramePrediction) -> FramePredictionAnswer:
    return FramePredictionAnswer(
        frame_number=frame.frame_number + 1, pts_s=round(frame.pts_s, 3), prob_fake=percent(frame.prob_fake)
    )


def _segment(segment: FileSegment) -> SegmentAnswer:
    return SegmentAnswer(
        start_s=round(segment.start_s, 3),
        end_s=round(segment.end_s, 3),
        label=segment.label,
        reason=segment.reason,
        prob_fake=percent(segment.prob_fake),
    )


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
