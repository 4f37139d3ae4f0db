"""Versioned family of events. `stream.event_encoding` encodes them; `docs/contracts/events.md` describes them."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from stream.types import CloseReason, EndReason, FrameCounts, ModelRef, Quality

SCHEMA_VERSION = 1


class Label(StrEnum):
    """Label of a window. Missing evidence is never REAL."""

    REAL = "REAL"
    FAKE = "FAKE"
    UNCERTAIN = "UNCERTAIN"
    NO_FACE = "NO_FACE"


class Reason(StrEnum):
    """Reason of a label; `REASON_TEXT` has the sentences for people."""

    EVIDENCE_FAKE = "evidence_fake"
    EVIDENCE_REAL = "evidence_real"
    BETWEEN_BOUNDS = "between_bounds"
    MONITORING = "monitoring"
    SUSPECT = "suspect"
    INSUFFICIENT_EVIDENCE = "insufficient_evidence"
    FACE_TOO_SMALL = "face_too_small"
    LOW_COVERAGE = "low_coverage"
    UNCALIBRATED = "uncalibrated"
    NO_MODEL = "no_model"
    SCORER_FAILED = "scorer_failed"
    NO_FACE = "no_face"
    NO_FRAMES = "no_frames"


REASON_TEXT: dict[Reason, str] = {
    Reason.EVIDENCE_FAKE: "a face reached the alarm level",
    Reason.EVIDENCE_REAL: "no sign of manipulation was found",
    Reason.BETWEEN_BOUNDS: "the evidence points neither way",
    Reason.MONITORING: "no face is near the alarm level",
    Reason.SUSPECT: "a face is approaching the alarm level",
    Reason.INSUFFICIENT_EVIDENCE: "too few usable pictures of the face so far",
    Reason.FACE_TOO_SMALL: "every face is too small to judge",
    Reason.LOW_COVERAGE: "too little of the media could be examined",
    Reason.UNCALIBRATED: "the detection model was not calibrated, so its scores are no probabilities",
    Reason.NO_MODEL: "no detection model is loaded",
    Reason.SCORER_FAILED: "the detection model could not run",
    Reason.NO_FACE: "no face was seen",
    Reason.NO_FRAMES: "no frame could be decoded",
}


class TrackSums(
    msgspec.Struct, frozen=True, kw_only=True, rename={"statistic": "rise", "effective_samples": "looks"}
):
    """State of the sequential test for one face (see `stream.cusum.CusumState`).

    `pts_s` is the media time of the last sample that counted, `seen_s` of the last sample that showed the face, from
    which its state expires. Verdicts of earlier versions have no `seen_s`.
    """

    track: int
    pts_s: float
    statistic: float
    log_ratio: float
    effective_samples: float
    alarm: bool
    cleared: bool
    seen_s: float | None = None


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """State of the decision, from which another process can continue.

    An alarm opens when a face's `rise` reaches `limit`. A face is cleared when its `log_ratio` falls to `clear_bound`.
    All are in nats.
    """

    limit: float
    clear_bound: float
    tracks: tuple[TrackSums, ...]


class FaceVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """Verdict on one track. `box` is its latest box, (x, y, width, height) as shares of the frame.

    `prob_fake` and `llr` are those of the window. `suspicion` is the share of the alarm limit that the face's sum has
    reached since the start. `alarm` says whether its alarm is open.
    """

    track: int
    box: tuple[float, float, float, float]
    label: Label
    reason: Reason
    samples: int
    prob_fake: float | None
    llr: float | None
    frequency_score: float | None
    quality: Quality
    suspicion: float = 0.0
    alarm: bool = False


class Verdict(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="verdict"):
    """Verdict on one window of a stream. `id` is `stream/epoch/sequence`, so that consumers recognise repeats.

    `start_s`..`end_s` is media time. `coverage` in 0..1 is the share of the wanted samples that were scored.
    `prob_fake`, `llr` and `reason` are those of the most suspicious face. `age_ms` is the time from the capture of the
    newest sample to this verdict. `rate_hz` is the sampling rate in force.
    """

    id: str
    stream: str
    epoch: int
    sequence: int
    start_s: float
    end_s: float
    samples: int
    wanted: int
    coverage: float
    rate_hz: float
    label: Label
    reason: Reason
    prob_fake: float | None
    llr: float | None
    faces: tuple[FaceVerdict, ...]
    frames: FrameCounts
    age_ms: float
    model: ModelRef | None
    alarm: bool = False
    decision: Decision | None = None
    v: int = SCHEMA_VERSION


class StreamStarted(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="stream.started"):
    """A stream was admitted. `source` is "whip", "file", ...; `sample` marks the demonstration call."""

    stream: str
    epoch: int
    source: str
    started_s: float
    sample: bool = False
    call_id: str = ""
    participant_id: str = ""
    v: int = SCHEMA_VERSION


class StreamGap(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="stream.gap"):
    """Part of the media could not be examined; `from_s` is the media time of the last observation before it."""

    stream: str
    epoch: int
    cause: str
    from_s: float
    v: int = SCHEMA_VERSION


class StreamStalled(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="stream.stalled"):
    """The source has sent nothing for `silent_s`; `from_s` is the media time of the last observation.

    Verdicts continue when media arrives again.
    """

    stream: str
    epoch: int
    silent_s: float
    from_s: float
    v: int = SCHEMA_VERSION


class IncidentOpened(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="incident.opened"):
    """An alarm was stored with its evidence as incident `id`. `verdict` is the id of the verdict that opened it.

    `tracks` are the faces whose alarm is open, most suspicious first; `prob_fake` and `suspicion` are those of the
    first. `opened_s` is Unix time; `pts_s` is the media time of the window's end.
    """

    id: str
    stream: str
    epoch: int
    verdict: str
    opened_s: float
    pts_s: float
    tracks: tuple[int, ...]
    prob_fake: float | None
    suspicion: float
    model: ModelRef | None
    rules_sha256: str
    source: str
    sample: bool = False
    call_id: str = ""
    participant_id: str = ""
    v: int = SCHEMA_VERSION


class IncidentClosed(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="incident.closed"):
    """The alarm of incident `id` has closed. `closed_s` is Unix time, `pts_s` media time."""

    id: str
    stream: str
    epoch: int
    reason: CloseReason
    opened_s: float
    closed_s: float
    pts_s: float
    v: int = SCHEMA_VERSION


class StreamEnded(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="stream.ended"):
    """A stream has ended; no event of this epoch follows."""

    stream: str
    epoch: int
    reason: EndReason
    message: str
    frames: FrameCounts
    v: int = SCHEMA_VERSION


Event = StreamStarted | Verdict | StreamGap | StreamStalled | IncidentOpened | IncidentClosed | StreamEnded
