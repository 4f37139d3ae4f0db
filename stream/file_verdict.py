"""File verdict: the verdict on one file, from its scored frames. No I/O.

The sequential test judges a picture, and a video as a whole. A video is also judged by its worst stretch: if the live
alarm test raises an alarm, the file is FAKE.
"""

from __future__ import annotations

from itertools import groupby
from math import ceil
from statistics import pstdev
from typing import TYPE_CHECKING

import msgspec

from stream.config import DecisionConfig
from stream.cusum import EvidenceModel
from stream.events import FaceVerdict, Label, Reason
from stream.face_verdicts import judge_faces, unscored_reason, withheld
from stream.file_stretches import AlarmStretch, alarm_stretches
from stream.types import ModelRef

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream.worker_messages import FileFrame, JobDone

_LARGEST_SD = 0.5       # standard deviation of probabilities of which half are 0 and half 1


# The whole-file test was calibrated on this many samples; denser ones add no new information.
WHOLE_FILE_SAMPLES = 32


class JudgeOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Sampling of a file: `rate_hz` frames per second, at most `max_samples` in all, evenly spread.

    `heat_map` requests a picture that shows where the evidence lies.
    """

    max_samples: int = 300
    rate_hz: float = 2.0
    heat_map: bool = False


class FramePrediction(msgspec.Struct, frozen=True, kw_only=True):
    """The most suspicious face of one frame; `prob_fake` is None if none could be scored."""

    frame_number: int
    pts_s: float
    prob_fake: float | None


class FileSegment(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of a video, media time `start_s` to `end_s` in seconds, judged by its own samples alone.

    Segments cover the video without gaps, from the first sample to the last. `prob_fake` and `llr` are those of the
    most suspicious face in the segment, None if none could be scored.
    """

    start_s: float
    end_s: float
    label: Label
    reason: Reason
    prob_fake: float | None
    llr: float | None


class FileVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict on a picture or video.

    `prob_fake` and `llr` are those of the worst stretch if one is FAKE, else those of the whole file. `consistency` in
    0..1 is 1 - SD / 0.5 over the frames' probabilities. `segments` is empty for pictures.
    """

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
    segments: tuple[FileSegment, ...] = ()


class FileRule(msgspec.Struct, frozen=True, kw_only=True):
    """Decision rule for files.

    `evidence` is None if the model's evidence was not measured; then there is no alarm test. `fastest_hz` is the
    highest sampling rate of live calls, for which the alarm limit is set.
    """

    decision: DecisionConfig
    model: ModelRef | None
    evidence: EvidenceModel | None
    fastest_hz: float


def judge_file(frames: Sequence[FileFrame], done: JobDone, rule: FileRule) -> FileVerdict:
    """Returns the verdict on all frames of a file. One sample is enough for a picture."""
    min_samples = 1 if done.file_type == "image" else min(rule.decision.min_samples, max(1, done.total_frames))
    whole = _faces_of(frames[:: ceil(len(frames) / WHOLE_FILE_SAMPLES) or 1], rule, min_samples)
    is_video = done.file_type == "video"
    stretches = _alarms_of(frames, rule) if is_video else ()
    faces = _with_alarms(whole, stretches, frames, rule)
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
        model=rule.model,
        heat_map_png=next((f.heat_map_png for f in frames if f.heat_map_png is not None), None),
        segments=_segments(frames, stretches, rule, label) if is_video else (),
    )


def _faces_of(frames: Sequence[FileFrame], rule: FileRule, min_samples: int) -> tuple[FaceVerdict, ...]:
    """Returns one verdict per face by the sequential test, most suspicious first."""
    faces = judge_faces([(frame.faces, frame.unscored) for frame in frames], rule.decision, min_samples)
    return withheld(faces) if rule.model is not None and not rule.model.calibrated else faces


def _alarms_of(frames: Sequence[FileFrame], rule: FileRule) -> tuple[AlarmStretch, ...]:
    if rule.evidence is None or rule.model is None or not rule.model.calibrated:
        return ()
    return alarm_stretches(frames, rule.decision, rule.evidence, rule.fastest_hz)


def _with_alarms(
    faces: tuple[FaceVerdict, ...], stretches: Sequence[AlarmStretch], frames: Sequence[FileFrame], rule: FileRule
) -> tuple[FaceVerdict, ...]:
    """Returns the faces, those with an alarm first, each judged by its worst stretch."""
    worst: dict[int, FaceVerdict] = {}
    for stretch in stretches:
        inside = [frame for frame in frames if stretch.start_s <= frame.pts_s <= stretch.end_s]
        own = next(face for face in _faces_of(inside, rule, 1) if face.track == stretch.track)
        fake = msgspec.structs.replace(own, label=Label.FAKE, reason=Reason.EVIDENCE_FAKE)
        if stretch.track not in worst or (fake.llr or 0.0) > (worst[stretch.track].llr or 0.0):
            worst[stretch.track] = fake
    alarmed = sorted(worst.values(), key=lambda face: face.llr or 0.0, reverse=True)
    return (*alarmed, *(face for face in faces if face.track not in worst))


def _segments(
    frames: Sequence[FileFrame], stretches: Sequence[AlarmStretch], rule: FileRule, label: Label
) -> tuple[FileSegment, ...]:
    """Divides the file where alarms begin and end; returns one segment if there is no alarm."""
    if not frames:
        return ()
    segments = []
    for is_alarm, group in groupby(frames, lambda frame: any(s.start_s <= frame.pts_s <= s.end_s for s in stretches)):
        inside = tuple(group)
        faces = _faces_of(inside, rule, 1 if is_alarm else rule.decision.min_samples)
        own, reason = (Label.FAKE, Reason.EVIDENCE_FAKE) if is_alarm else _label(inside, faces)
        if own is Label.FAKE and label is not Label.FAKE:
            own, reason = Label.UNCERTAIN, Reason.BETWEEN_BOUNDS
        worst = faces[0] if faces else None
        segments.append(FileSegment(
            start_s=inside[0].pts_s, end_s=inside[-1].pts_s, label=own, reason=reason,
            prob_fake=worst.prob_fake if worst else None, llr=worst.llr if worst else None,
        ))
    ends = [following.start_s for following in segments[1:]] + [segments[-1].end_s]
    return tuple(msgspec.structs.replace(each, end_s=end_s) for each, end_s in zip(segments, ends, strict=True))


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
