"""File job in a worker: a generator of small steps, so that live streams never wait long for it."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from detector.face_follower import FaceFollower
from stream.errors import MediaRefused
from stream.frame_analyser import FrameSample
from stream.heat_map_picture import heat_picture_png
from stream.sources.video_file import Sampling, VideoFile, identify
from stream.still_images import decode_still
from stream.worker_messages import FileFrame, JobDone, JobFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from concurrent.futures import Executor
    from pathlib import Path

    from numpy.typing import NDArray

    from stream.file_type import MediaKind
    from stream.frame_analyser import ExaminedFrame, FrameAnalyser
    from stream.media_limits import MediaLimits
    from stream.sources.video_file import FileSample
    from stream.worker_messages import RunJob

    Rgb = NDArray[np.uint8]
    JobMessage = FileFrame | JobDone | JobFailed

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class JobTools:
    """Tools shared by all jobs of a worker. `aside` runs long calls that cannot be divided into steps."""

    analyser: FrameAnalyser
    limits: MediaLimits
    aside: Executor


class FileJob:
    """Runs one RunJob. `step` blocks for tens of milliseconds and raises nothing.

    While `is_waiting`, a step only checks whether a call that runs aside is done.
    """

    def __init__(self, request: RunJob, path: Path, tools: JobTools) -> None:
        self.request = request
        self.is_over = False
        self.is_waiting = False
        self._path = path
        self._tools = tools
        self._limits = tools.limits
        self._spent_s = 0.0
        self._steps = self._run()

    def step(self) -> JobMessage | None:
        """Returns the message that this step produced, if any. The last one is a JobDone or a JobFailed."""
        started_s = time.monotonic()
        message = self._guarded_step()
        self._spent_s += time.monotonic() - started_s
        if not self.is_over and self._spent_s > self._limits.job_s:
            message = self._fail(MediaRefused("too_slow", f"not judged within {self._limits.job_s:.0f} s of work"))
        return message

    def cancel(self) -> None:
        """Ends the job and releases its resources."""
        self.is_over = True
        self._steps.close()

    def _guarded_step(self) -> JobMessage | None:
        try:
            message = next(self._steps)
        except MediaRefused as refused:
            return self._fail(refused)
        except Exception:       # noqa: BLE001  outermost frame of a job: media must not end the worker
            _log.exception("file job failed")
            return self._fail(MediaRefused("undecodable", "the file cannot be decoded"))
        if isinstance(message, JobDone):
            self.cancel()
        return message

    def _fail(self, refused: MediaRefused) -> JobFailed:
        self.cancel()
        return JobFailed(
            job=self.request.job, code=refused.code, message=refused.message, status=refused.status
        )

    def _run(self) -> Generator[JobMessage | None, None, None]:
        kind = identify(self._path, self._limits)
        yield None
        yield from self._picture(kind) if kind.is_picture else self._video(kind)

    def _picture(self, kind: MediaKind) -> Generator[JobMessage | None, None, None]:
        rgb = yield from self._aside(lambda: decode_still(self._path.read_bytes(), self._limits))
        examined, rgb = yield from self._examine_turned(rgb)
        heat_map = None
        if self.request.heat_maps:
            heat_map = yield from self._aside(lambda: heat_picture_png(rgb, examined.faces))
        yield FileFrame(
            job=self.request.job,
            frame_number=0,
            pts_s=0.0,
            width_px=rgb.shape[1],
            height_px=rgb.shape[0],
            faces=examined.faces,
            unscored=examined.unscored,
            done=1,
            planned=1,
            heat_map_png=heat_map,
        )
        yield self._done("image", kind.value)

    def _examine_turned(self, rgb: Rgb) -> Generator[None, None, tuple[ExaminedFrame, Rgb]]:
        """Examines a picture; if no face is found, tries it turned by 90, 270 and 180 degrees.

        Cameras and editors lose the orientation of pictures, and the finder detects upright faces only.
        """
        for turns in (0, 1, 3, 2):
            turned = np.ascontiguousarray(np.rot90(rgb, turns))
            (examined,) = self._tools.analyser.examine([FrameSample(turned, 0.0, FaceFollower(), self.request.job)])
            if turns == 0:
                as_it_is = examined
            if examined.faces or examined.unscored:
                return examined, turned
            yield None
        return as_it_is, rgb

    def _video(self, kind: MediaKind) -> Generator[JobMessage | None, None, None]:
        video = VideoFile(self._path, kind, self._limits)
        max_samples = max(1, min(self.request.max_samples, self._limits.samples))
        tracks, done = FaceFollower(), 0
        for sample in video.samples(Sampling(max_samples, self.request.rate_hz)):
            yield None
            if sample is not None:
                (examined,) = self._tools.analyser.examine(
                    [FrameSample(sample.rgb, sample.pts_s, tracks, self.request.job)]
                )
                done += 1
                yield self._frame(sample, examined, done=done, planned=video.planned)
        yield self._done("video", kind.value, video)

    def _aside(self, call: Callable[[], _Result]) -> Generator[None, None, _Result]:
        future = self._tools.aside.submit(call)
        self.is_waiting = True
        while not future.done():
            yield None
        self.is_waiting = False
        return future.result()

    def _frame(self, sample: FileSample, examined: ExaminedFrame, *, done: int, planned: int) -> FileFrame:
        return FileFrame(
            job=self.request.job,
            frame_number=sample.frame_number,
            pts_s=sample.pts_s,
            width_px=sample.rgb.shape[1],
            height_px=sample.rgb.shape[0],
            faces=examined.faces,
            unscored=examined.unscored,
            done=done,
            planned=planned,
        )

    def _done(self, file_type: str, container: str, video: VideoFile | None = None) -> JobDone:
        facts = video.facts if video else None
        return JobDone(
            job=self.request.job,
            file_type=file_type,
            container=container,
            codec=facts.codec if facts else container,
            total_frames=facts.total_frames if facts else 1,
            duration_s=facts.duration_s if facts else 0.0,
            bad_frames=facts.bad_frames if facts else 0,
            fps=facts.fps if facts else 0.0,
        )
