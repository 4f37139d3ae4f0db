"""From the scored frames of one file to its verdict. No I/O."""

from __future__ import annotations

from statistics import pstdev
from typing import TYPE_CHECKING

import msgspec

from stream.events import FaceVerdict, Label, Reason
from stream.face_verdicts import judge_faces, unscored_reason, withheld
from stream.types import ModelRef

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream.config import DecisionConfig
    from stream.worker_messages import FileFrame, JobDone

_LARGEST_SD = 0.5       # standard deviation of probabilities that are half 0, half 1


class JudgeOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`max_samples` frames at most, never denser than `rate_hz`; `heat_map` asks for a picture where evidence lies."""

    max_samples: int = 32
    rate_hz: float = 5.0
    heat_map: bool = False


class FramePrediction(msgspec.Struct, frozen=True, kw_only=True):
    """The most suspicious face of one frame; `prob_fake` is None where none could be scored."""

    frame_number: int
    pts_s: float
    prob_fake: float | None


class FileVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What one picture or video says. `consistency` in 0..1 is 1 - SD / 0.5 over the frames' probabilities."""

    file_type: str
    label: Label
    reason: Reason
    prob_fake: float | None
    llr: float | None
    frequency_score: float | None
    frames_analyzed: int
    total_frames: int
    bad_frames: int
    faces_detected: int
    consistency: float | None
    duration_s: float
    frame_predictions: tuple[FramePrediction, ...]
    faces: tuple[FaceVerdict, ...]
    model: ModelRef | None
    heat_map_png: bytes | None = None


def judge_file(
    frames: Sequence[FileFrame], done: JobDone, config: DecisionConfig, model: ModelRef | None
) -> FileVerdict:
    """The verdict on all frames of a file together; a picture needs one sample only."""
    min_samples = 1 if done.file_type == "image" else min(config.min_samples, max(1, done.total_frames))
    faces = judge_faces([(f.faces, f.unscored) for f in frames], config, min_samples)
    if model is not None and not model.calibrated:
        faces = withheld(faces)
    label, reason = _label(frames, faces)
    worst = faces[0] if faces else None
    predictions = tuple(_predict(frame) for frame in frames)
    known = [p.prob_fake for p in predictions if p.prob_fake is not None]
    return FileVerdict(
        file_type=done.file_type,
        label=label,
        reason=reason,
        prob_fake=worst.prob_fake if worst else None,
        llr=worst.llr if worst else None,
        frequency_score=worst.frequency_score if worst else None,
        frames_analyzed=len(frames),
        total_frames=done.total_frames,
        bad_frames=done.bad_frames,
        faces_detected=sum(len(frame.faces) for frame in frames),
        consistency=max(0.0, 1 - pstdev(known) / _LARGEST_SD) if known else None,
        duration_s=done.duration_s,
        frame_predictions=predictions,
        faces=faces,
        model=model,
        heat_map_png=next((f.heat_map_png for f in frames if f.heat_map_png is not None), None),
    )


def _label(frames: Sequence[FileFrame], faces: tuple[FaceVerdict, ...]) -> tuple[Label, Reason]:
    if not frames:
        return Label.UNCERTAIN, Reason.NO_FRAMES
    if all(frame.unscored for frame in frames):
        return Label.UNCERTAIN, unscored_reason(frames[-1].unscored)
    if not faces:
        return Label.NO_FACE, Reason.NO_FACE
    return faces[0].label, faces[0].reason


def _predict(frame: FileFrame) -> FramePrediction:
    known = [face.prob_fake for face in frame.faces if face.prob_fake is not None and face.quality.weight > 0]
    return FramePrediction(
        frame_number=frame.frame_number, pts_s=frame.pts_s, prob_fake=max(known) if known else None
    )
