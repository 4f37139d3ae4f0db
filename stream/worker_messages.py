"""Messages between the network process and a worker process: length-prefixed MessagePack over a socket pair.

Flow control uses credits. A worker reports consumed units in Consumed messages. The pool keeps at most
`PoolConfig.unit_credits` units of one stream in flight; the rest wait in that stream's bounded queue.
"""

from __future__ import annotations

import msgspec

from stream.cusum import EvidenceModel
from stream.types import Codec, DropCause, FaceObservation, FrameCounts, MediaUnit, ModelRef, Observation


class OpenStream(msgspec.Struct, frozen=True, kw_only=True, tag="open"):
    """Opens one stream, or continues it in a replacement worker. `phase` in 0..1 shifts the sampling grid.

    A replacement continues the numbering: tracks from `first_track`, frames from `first_frame`. It takes no sample from
    cells up to `after_cell`. `pace` is the sampling density (`stream.frame_sampler.Pace`).

    A `repeatable` stream is recorded media: every wanted frame is examined by itself, however late. The same media then
    gives the same observations wherever reading starts.
    """

    stream: str
    epoch: int
    codec: Codec
    rate_hz: float
    phase: float
    pace: int = 5
    first_track: int = 0
    first_frame: int = 0
    after_cell: int | None = None
    repeatable: bool = False


class FeedUnit(msgspec.Struct, frozen=True, kw_only=True, tag="unit"):
    """Carries one unit; `waited_s` is the time that a unit of live media waited in the pool."""

    unit: MediaUnit
    waited_s: float = 0.0


class SetPace(msgspec.Struct, frozen=True, kw_only=True, tag="pace"):
    """Sets the sampling density from now on."""

    stream: str
    epoch: int
    pace: int


class CloseStream(msgspec.Struct, frozen=True, kw_only=True, tag="close"):
    """Flushes the decoder. The worker sends the remaining observations, then StreamClosed."""

    stream: str
    epoch: int


class RunJob(msgspec.Struct, frozen=True, kw_only=True, tag="job"):
    """Judges one file. `path` lies in a directory that the service made.

    At most `max_samples` frames are scored, spread over the whole file and never denser than `rate_hz`.
    """

    job: str
    path: str
    max_samples: int
    rate_hz: float
    heat_maps: bool


class CancelJob(msgspec.Struct, frozen=True, kw_only=True, tag="cancel"):
    job: str


class Ping(msgspec.Struct, frozen=True, kw_only=True, tag="ping"):
    nonce: int


ToWorker = OpenStream | FeedUnit | SetPace | CloseStream | RunJob | CancelJob | Ping


class Hello(msgspec.Struct, frozen=True, kw_only=True, tag="hello"):
    """First message of a warm worker. `model` is None if no model could be loaded; `problem` says why.

    `evidence` is the model's evidence model, if its manifest has one.
    """

    pid: int
    model: ModelRef | None
    problem: str
    evidence: EvidenceModel | None = None


class Consumed(msgspec.Struct, frozen=True, kw_only=True, tag="consumed"):
    """Reports `units` of this stream as consumed; `counts` is cumulative since OpenStream.

    `refused` lists those that could not be decoded, by sequence, except units that only lacked a key frame.
    """

    stream: str
    epoch: int
    units: int
    counts: FrameCounts
    refused: tuple[tuple[int, DropCause], ...] = ()


class Observed(msgspec.Struct, frozen=True, kw_only=True, tag="observed"):
    observation: Observation


class KeyframeNeeded(msgspec.Struct, frozen=True, kw_only=True, tag="keyframe"):
    stream: str
    epoch: int


class StreamFailed(msgspec.Struct, frozen=True, kw_only=True, tag="stream_failed"):
    """The stream cannot be decoded at all: wrong codec, too large, or too many bad units in a row."""

    stream: str
    epoch: int
    cause: DropCause
    message: str


class StreamClosed(msgspec.Struct, frozen=True, kw_only=True, tag="closed"):
    stream: str
    epoch: int
    counts: FrameCounts


class FileFrame(msgspec.Struct, frozen=True, kw_only=True, tag="file_frame"):
    """One scored frame of a file job; `done` of `planned` samples are finished."""

    job: str
    frame_number: int
    pts_s: float
    width_px: int
    height_px: int
    faces: tuple[FaceObservation, ...]
    unscored: str
    done: int
    planned: int
    heat_map_png: bytes | None = None


class JobDone(msgspec.Struct, frozen=True, kw_only=True, tag="job_done"):
    """`file_type` is "image" or "video"; `bad_frames` could not be decoded; `fps` is 0 for a picture."""

    job: str
    file_type: str
    container: str
    codec: str
    total_frames: int
    duration_s: float
    bad_frames: int
    fps: float = 0.0


class JobFailed(msgspec.Struct, frozen=True, kw_only=True, tag="job_failed"):
    """The file is refused or undecodable; becomes a MediaRefused with these fields."""

    job: str
    code: str
    message: str
    status: int


class Pong(msgspec.Struct, frozen=True, kw_only=True, tag="pong"):
    """Answers Ping. `busy_s` is the time that the worker's main thread has spent in the current round."""

    nonce: int
    busy_s: float = 0.0


FromWorker = (
    Hello | Consumed | Observed | KeyframeNeeded | StreamFailed | StreamClosed | FileFrame | JobDone | JobFailed | Pong
)
