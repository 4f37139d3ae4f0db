"""Configuration and status of the worker pool. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from stream.media_limits import MediaLimits

if TYPE_CHECKING:
    from pathlib import Path

    from stream.cusum import EvidenceModel
    from stream.types import ModelRef


@dataclass(frozen=True, slots=True)
class PoolConfig:
    """Limits of the worker pool.

    `workers` 0 means one per core that this process may use. `weights_dir` None means the shipped weights.

    Per stream, at most `unit_queue` units of `unit_queue_bytes` together wait in the pool. At most `unit_credits` units
    of `flight_bytes` are in a worker. `unit_wait_s` is the longest time that a unit of live media may wait for a
    running worker; None for recorded media.

    A worker is killed and replaced in three cases: it does not answer for `silent_limit_s`; it does not answer for
    `heartbeat_s` and uses no processor time; or it stays in one round of its loop for `busy_limit_s`. A stream fails
    when workers have crashed or hung on it `max_crashes` times within `crash_memory_s`.
    """

    workers: int = 0
    weights_dir: Path | None = None
    threads: int = 1
    unit_queue: int = 256
    unit_queue_bytes: int = 8 * 2**20
    unit_wait_s: float | None = None
    unit_credits: int = 32
    flight_bytes: int = 2 * 2**20
    preview_width_px: int = 320
    blur_faces: bool = False
    jobs_per_worker: int = 2
    limits: MediaLimits = field(default_factory=MediaLimits)
    address_space_bytes: int = 3 * 2**30
    max_files: int = 64
    start_limit_s: float = 30.0
    heartbeat_s: float = 1.0
    silent_limit_s: float = 4.0
    busy_limit_s: float = 10.0
    close_limit_s: float = 3.0
    keyframe_every_s: float = 1.0
    longest_backoff_s: float = 30.0
    max_crashes: int = 3
    crash_memory_s: float = 60.0

    def __post_init__(self) -> None:
        for name in ("unit_queue", "unit_credits", "threads", "jobs_per_worker"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if self.workers < 0:
            raise ValueError(f"workers: expected 0 or more, got {self.workers}")


@dataclass(frozen=True, slots=True)
class FileRequest:
    """One file to judge: at most `max_samples` frames, never denser than `rate_hz`."""

    path: Path
    max_samples: int
    rate_hz: float
    heat_maps: bool


@dataclass(frozen=True, slots=True)
class PoolStatus:
    """`ready` of `wanted` workers are warm. `problem` says why there is no model, or is empty.

    `evidence` is the model's evidence model; None if it was not measured.
    """

    ready: int
    wanted: int
    model: ModelRef | None
    evidence: EvidenceModel | None
    problem: str
    restarts: int
    pids: tuple[int, ...]


class WorkerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings that a worker process gets on its command line."""

    socket_fd: int
    marker_fd: int
    parent_pid: int
    weights_dir: str
    threads: int
    preview_width_px: int
    blur_faces: bool
    address_space_bytes: int
    max_files: int
    limits: MediaLimits
