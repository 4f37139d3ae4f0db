"""From a file's verdict to the answers that clients of the older API know. No I/O.

Percentages are 0 to 100 with two decimals. `confidence` is the probability of the label, so there is none where the
label is UNCERTAIN; `probabilities` are the calibrated ones wherever a face could be scored, else null. Frames are
numbered from 1. `adjusted_confidence` equals `confidence`: the frequency score is part of the calibrated probability
already.
"""

from __future__ import annotations

import base64
from typing import Any

import msgspec

from stream.events import REASON_TEXT, FaceVerdict, Label
from stream.file_verdict import FileSegment, FileVerdict, FramePrediction

APP_NAME = "DeepGuard: Deepfake Face Detection System"
LAYER_NAME = "block14_sepconv2_act"
UNCERTAIN = Label.UNCERTAIN.value

_OF_STREAMS = frozenset({"suspicion", "alarm"})

Answer = dict[str, Any]


def predict_answer(verdict: FileVerdict, took_s: float) -> Answer:
    """What POST /predict says."""
    return _image(verdict, took_s) if verdict.file_type == "image" else _video(verdict, took_s)


def gradcam_answer(verdict: FileVerdict, heat_map_png: bytes) -> Answer:
    """What POST /gradcam says."""
    return {
        "gradcam_image": "data:image/png;base64," + base64.b64encode(heat_map_png).decode(),
        "prediction": _prediction(verdict) | _why(verdict),
        "layer_name": LAYER_NAME,
    }


def percent(share: float | None) -> float | None:
    """0..1 as 0..100, two decimals."""
    return None if share is None else round(share * 100, 2)


def _image(verdict: FileVerdict, took_s: float) -> Answer:
    prediction = _prediction(verdict)
    return {
        **prediction,
        "frequency_score": _rounded(verdict.frequency_score, 4),
        "adjusted_confidence": prediction["confidence"],
        "processing_time": round(took_s, 3),
        "file_type": "image",
        "faces_detected": verdict.faces_detected,
        **_why(verdict),
        **_evidence(verdict),
    }


def _video(verdict: FileVerdict, took_s: float) -> Answer:
    return {
        **_prediction(verdict),
        "frames_analyzed": verdict.frames_analyzed,
        "consistency_score": percent(verdict.consistency),
        "total_frames": verdict.total_frames,
        "faces_detected": verdict.faces_detected,
        "processing_time": round(took_s, 3),
        "file_type": "video",
        "frame_predictions": [_frame(frame) for frame in verdict.frame_predictions],
        "frequency_score": _rounded(verdict.frequency_score, 4),
        "bad_frames": verdict.bad_frames,
        "duration_s": round(verdict.duration_s, 3),
        "segments": [_segment(segment) for segment in verdict.segments],
        **_why(verdict),
        **_evidence(verdict),
    }


def _prediction(verdict: FileVerdict) -> Answer:
    fake = percent(verdict.prob_fake)
    real = None if fake is None else round(100 - fake, 2)
    settled = verdict.label in (Label.REAL, Label.FAKE)
    return {
        "label": verdict.label.value if settled else UNCERTAIN,
        "confidence": {Label.FAKE: fake, Label.REAL: real}.get(verdict.label),
        "probabilities": {"REAL": real, "FAKE": fake},
    }


def _why(verdict: FileVerdict) -> Answer:
    return {"reason": verdict.reason.value, "reason_text": REASON_TEXT[verdict.reason]}


def _evidence(verdict: FileVerdict) -> Answer:
    return {
        "llr": _rounded(verdict.llr, 4),
        "faces": [_face(face) for face in verdict.faces],
        "model": msgspec.to_builtins(verdict.model),
    }


def _face(face: FaceVerdict) -> Answer:
    """As in a verdict event, but for what only a running stream has."""
    plain: Answer = msgspec.to_builtins(face)
    return {name: value for name, value in plain.items() if name not in _OF_STREAMS}


def _frame(frame: FramePrediction) -> Answer:
    return {
        "frame_number": frame.frame_number + 1,
        "pts_s": round(frame.pts_s, 3),
        "prob_fake": percent(frame.prob_fake),
    }


def _segment(segment: FileSegment) -> Answer:
    return {
        "start_s": round(segment.start_s, 3),
        "end_s": round(segment.end_s, 3),
        "label": segment.label.value,
        "reason": segment.reason.value,
        "prob_fake": percent(segment.prob_fake),
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
