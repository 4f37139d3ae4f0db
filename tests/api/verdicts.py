"""Verdicts on files, made up."""

from __future__ import annotations

from typing import Any

from stream.events import FaceVerdict, Label, Reason
from stream.file_verdict import FileVerdict, FramePrediction
from stream.types import ModelRef, Quality

MODEL = ModelRef(name="deepguard-xception", version="1.2.3", sha256="ab" * 32)


def face(label: Label, reason: Reason, prob_fake: float | None) -> FaceVerdict:
    return FaceVerdict(
        track=0, box=(0.25, 0.125, 0.5, 0.5), label=label, reason=reason, samples=1, prob_fake=prob_fake, llr=2.5,
        frequency_score=0.5, quality=Quality(face_px=180.0, sharpness=100.0, luminance=0.5, weight=1.0),
    )


def verdict(
    label: Label = Label.FAKE, reason: Reason = Reason.EVIDENCE_FAKE, prob_fake: float | None = 0.87654, **changes: Any
) -> FileVerdict:
    """A picture with one face, unless `changes` say otherwise."""
    values: dict[str, Any] = {
        "file_type": "image",
        "label": label,
        "reason": reason,
        "prob_fake": prob_fake,
        "llr": None if prob_fake is None else 1.959637,
        "frequency_score": None if prob_fake is None else 0.678049,
        "frames_analyzed": 1,
        "total_frames": 1,
        "bad_frames": 0,
        "faces_detected": 0 if label is Label.NO_FACE else 1,
        "consistency": None if prob_fake is None else 1.0,
        "duration_s": 0.0,
        "frame_predictions": (FramePrediction(frame_number=0, pts_s=0.0, prob_fake=prob_fake),),
        "faces": () if label is Label.NO_FACE else (face(label, reason, prob_fake),),
        "model": None if reason is Reason.NO_MODEL else MODEL,
    }
    return FileVerdict(**{**values, **changes})


def video_verdict(prob_fake: float | None = 0.85321, **changes: Any) -> FileVerdict:
    values: dict[str, Any] = {
        "file_type": "video",
        "frames_analyzed": 3,
        "total_frames": 90,
        "faces_detected": 2,
        "bad_frames": 1,
        "consistency": 0.92449,
        "duration_s": 3.0004,
        "frame_predictions": (
            FramePrediction(frame_number=0, pts_s=0.0, prob_fake=0.8231),
            FramePrediction(frame_number=45, pts_s=1.50049, prob_fake=0.88149),
            FramePrediction(frame_number=89, pts_s=2.9667, prob_fake=None),
        ),
    }
    return verdict(prob_fake=prob_fake, **{**values, **changes})
