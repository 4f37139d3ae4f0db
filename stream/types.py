"""Values that cross processes: media units in, observations out. Frozen, no I/O.

Times: `pts_s` is media time in seconds since the first frame of the epoch; `capture_s` is Unix time in seconds
of the moment the sender captured the frame (or, where it is unknown, of arrival).
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from stream.display_transform import AS_DECODED, DisplayTransform


class Codec(StrEnum):
    """How one media unit is encoded. Stills stand alone; video needs a key frame first (`stream.codecs`)."""

    H264 = "h264"   # one access unit, Annex-B
    VP8 = "vp8"     # one frame
    HEVC = "hevc"   # one access unit, Annex-B
    VP9 = "vp9"     # one superframe
    AV1 = "av1"     # one temporal unit, with its sequence header at key frames
    JPEG = "jpeg"
    PNG = "png"
    SEGMENT = "segment"     # MP4, WebM or MPEG-TS data that can be decoded by itself


class DropCause(StrEnum):
    """Why a received unit or a wanted sample was not scored."""

    PACKET_LOSS = "packet_loss"         # lost in the network, and not retransmitted
    QUEUE_FULL = "queue_full"           # the worker was behind; dropped up to the next key frame
    NO_KEYFRAME = "no_keyframe"         # nothing can be decoded before the first key frame
    DECODE_ERROR = "decode_error"
    TOO_LARGE = "too_large"             # more pixels or bytes than allowed
    SUPERSEDED = "superseded"           # a newer sample of the stream took its place
    WORKER_LOST = "worker_lost"         # held by a worker that died
    SCORER_FAILED = "scorer_failed"
    SOURCE_LOST = "source_lost"         # the connection to a pulled source broke off


class EndReason(StrEnum):
    """Why a stream ended."""

    PUBLISHER_LEFT = "publisher_left"
    STOPPED = "stopped"
    NEVER_CONNECTED = "never_connected"
    SILENT = "silent"
    END_OF_MEDIA = "end_of_media"
    FAILED = "failed"
    SHUTDOWN = "shutdown"


class CloseReason(StrEnum):
    """Why an incident closed."""

    ALARM_OVER = "alarm_over"       # the evidence fell, or the face left
    STREAM_ENDED = "stream_ended"
    INTERRUPTED = "interrupted"     # the process that analysed the stream has ended


class MediaUnit(msgspec.Struct, frozen=True, kw_only=True):
    """One encoded access unit, still picture or segment. `sequence` is contiguous per epoch at the publisher.

    `display` is the display transform of its frames.
    """

    stream: str
    epoch: int
    sequence: int
    codec: Codec
    payload: bytes
    pts_s: float
    capture_s: float
    keyframe: bool
    display: DisplayTransform = AS_DECODED

    def __repr__(self) -> str:
        return f"MediaUnit({self.stream}/{self.epoch}/{self.sequence}, {self.codec}, {len(self.payload)} bytes)"


class Quality(msgspec.Struct, frozen=True, kw_only=True):
    """Image quality of a face; `weight` in 0..1 scales its evidence."""

    face_px: float
    sharpness: float
    luminance: float
    weight: float


class FaceObservation(msgspec.Struct, frozen=True, kw_only=True):
    """One face at one sampled instant.

    `box` is (x, y, width, height) as shares of the frame. The scores are None if no model scored the face. `heat_map`
    is s x s bytes (7 x 7 for the shipped network), row-major, 0..255, or None if not requested.
    """

    track: int
    box: tuple[float, float, float, float]
    confidence: float
    quality: Quality
    prob_fake: float | None = None
    llr: float | None = None
    logit: float | None = None
    frequency_score: float | None = None
    heat_map: bytes | None = None


class FacePicture(msgspec.Struct, frozen=True, kw_only=True):
    """Network input of one face: `png` is 224 x 224 RGB, lossless (None where faces are blurred).

    `spectrum` is `detector.frequency.spectrum` of the face at its own resolution, empty if the face is too small.
    """

    track: int
    png: bytes | None
    spectrum: tuple[float, ...]


class Pictures(msgspec.Struct, frozen=True, kw_only=True):
    """A sampled frame as evidence: a JPEG copy, and pictures of its suspicious faces."""

    jpeg: bytes
    faces: tuple[FacePicture, ...]

    def __repr__(self) -> str:
        return f"Pictures({len(self.jpeg)} bytes, {len(self.faces)} faces)"


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a worker at one sampled instant.

    `cell` is the sampling-grid cell that the frame fills; `pace` is the sampling density (see `stream.frame_sampler`).
    `frame_number` counts decoded frames of the epoch from 0. `unscored` names why no face has a score ("no_model",
    "scorer_failed"), or is "". `preview_jpeg` is a small copy of the frame for people to view, or None. `pictures`
    accompany some samples while a face is suspicious.
    """

    stream: str
    epoch: int
    sequence: int
    cell: int
    frame_number: int
    pts_s: float
    capture_s: float
    width_px: int
    height_px: int
    faces: tuple[FaceObservation, ...]
    unscored: str = ""
    pace: int = 5
    preview_jpeg: bytes | None = None
    pictures: Pictures | None = None

    def __repr__(self) -> str:
        return f"Observation({self.stream}/{self.epoch}/{self.sequence}, {self.pts_s:.3f} s, {len(self.faces)} faces)"


class FrameCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Cumulative counts of one epoch. `received` counts media units; `dropped` is by cause and never decreases.

    `skipped` units belong to higher temporal layers that the sampling does not need (`stream.temporal_layers`); they
    are no loss.
    """

    received: int = 0
    skipped: int = 0
    decoded: int = 0
    sampled: int = 0
    scored: int = 0
    dropped: dict[str, int] = msgspec.field(default_factory=dict)


class ModelRef(msgspec.Struct, frozen=True, kw_only=True):
    """The model that scored: `sha256` is the hex digest of the weights file.

    Without `calibrated`, the scores are no probabilities and every label stays UNCERTAIN.
    """

    name: str
    version: str
    sha256: str
    calibrated: bool = True
