"""Worker loop: each round decodes, analyses one batch over all streams, and advances one file by a step.

Every part of a round is bounded, so that no stream or file delays the others.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from stream.crash_marker import stream_name
from stream.file_job import FileJob, JobTools
from stream.frame_analyser import FrameSample
from stream.live_lane import CREDITS_EVERY_S, HOLD_S, LiveLane
from stream.lossless_lane import LosslessLane
from stream.preview_pictures import PictureRenderer
from stream.process_sandbox import return_memory
from stream.types import DropCause, Observation
from stream.worker_messages import (
    CancelJob,
    CloseStream,
    Consumed,
    FeedUnit,
    KeyframeNeeded,
    Observed,
    OpenStream,
    RunJob,
    SetPace,
    StreamClosed,
    StreamFailed,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stream.crash_marker import CrashMarker
    from stream.frame_analyser import ExaminedFrame, FrameAnalyser
    from stream.live_lane import LaneSample
    from stream.types import Pictures
    from stream.worker_channel import WorkerChannel
    from stream.worker_inbox import WorkerInbox
    from stream.worker_messages import ToWorker
    from stream.worker_pool_config import WorkerSettings

DECODE_BUDGET_S = 0.01
SAMPLES_PER_ROUND = 4       # a larger batch gains little, and its samples wait for each other
IDLE_S = 1.0
ASIDE_S = 0.005
PICTURED_CELLS = 10         # grid cells between evidence pictures: every second sample at the base pace

_log = logging.getLogger(__name__)
_Key = tuple[str, int]


class WorkerLoop:
    """Serves streams and files until the process ends."""

    def __init__(
        self, channel: WorkerChannel, crash_marker: CrashMarker, analyser: FrameAnalyser, settings: WorkerSettings
    ) -> None:
        self._channel = channel
        self._crash_marker = crash_marker
        self._analyser = analyser
        analyser.on_frame = crash_marker.note
        self._limits = settings.limits
        self._renderer = PictureRenderer(analyser.suspicious_llr, settings.preview_width_px, settings.blur_faces)
        self._lanes: dict[_Key, LiveLane] = {}
        self._jobs: deque[FileJob] = deque()
        self._tools = JobTools(analyser, settings.limits, ThreadPoolExecutor(1, thread_name_prefix="aside"))

    def run(self, inbox: WorkerInbox) -> None:
        while True:
            self.round(inbox.take(self._patience_s()))

    def _patience_s(self) -> float:
        """Returns how long the loop may wait for a message."""
        if any(lane.has_units or lane.is_closing for lane in self._lanes.values()):
            return 0.0
        if any(lane.is_holding for lane in self._lanes.values()):
            return HOLD_S if not self._jobs else 0.0
        if not self._jobs:
            return CREDITS_EVERY_S if any(lane.owes_credits for lane in self._lanes.values()) else IDLE_S
        return ASIDE_S if all(job.is_waiting for job in self._jobs) else 0.0

    def round(self, messages: Iterable[tuple[ToWorker, float]]) -> None:
        """Handles new messages, then gives every stream and one file their turn."""
        for message, arrived_s in messages:
            self._handle(message, arrived_s)
        self._advance_lanes()
        self._advance_job()

    def _handle(self, message: ToWorker, arrived_s: float) -> None:
        match message:
            case FeedUnit(unit=unit, waited_s=waited_s):
                lane = self._lanes.get((unit.stream, unit.epoch))
                if lane is not None:
                    lane.put(unit, arrived_s - waited_s)
            case OpenStream():
                self._open(message)
            case SetPace(pace=pace):
                lane = self._lanes.get((message.stream, message.epoch))
                if lane is not None:
                    lane.pace = pace
            case CloseStream():
                self._close(message)
            case RunJob():
                self._jobs.append(FileJob(message, Path(message.path), self._tools))
            case CancelJob():
                self._cancel(message.job)

    def _open(self, opened: OpenStream) -> None:
        try:
            kind = LosslessLane if opened.repeatable else LiveLane
            lane = kind(opened, self._limits, time.monotonic)
        except Exception as error:      # noqa: BLE001  outermost frame of a stream
            _log.exception("stream could not be opened", extra={"stream": opened.stream, "epoch": opened.epoch})
            self._fail((opened.stream, opened.epoch), error)
            return
        self._lanes[opened.stream, opened.epoch] = lane

    def _close(self, message: CloseStream) -> None:
        lane = self._lanes.get((message.stream, message.epoch))
        if lane is not None:
            lane.is_closing = True

    def _cancel(self, name: str) -> None:
        for job in [job for job in self._jobs if job.request.job == name]:
            job.cancel()
            self._jobs.remove(job)

    def _advance_lanes(self) -> None:
        """Gives streams their turns until a batch is full; the remaining streams come first in the next round.

        Streams that hold back a late sample keep their place in the order.
        """
        taken: list[tuple[LiveLane, LaneSample]] = []
        for key, lane in list(self._lanes.items()):
            if len(taken) == SAMPLES_PER_ROUND:
                break
            sample = self._turn(key, lane)
            if key not in self._lanes:
                continue
            if not lane.is_holding:
                self._lanes[key] = self._lanes.pop(key)
            if sample is not None:
                taken.append((lane, sample))
            self._return_credits(key, lane, sample is not None or lane.is_holding or lane.is_closing)
        self._examine(taken)
        for key, lane in list(self._lanes.items()):
            self._report(key, lane)

    def _turn(self, key: _Key, lane: LiveLane) -> LaneSample | None:
        """Returns the sample that one stream contributes to this round."""
        if not (lane.has_units or lane.is_closing):
            return None
        self._crash_marker.note(stream_name(*key))
        try:
            return lane.advance(DECODE_BUDGET_S) if lane.has_units else lane.flush()
        except Exception as error:      # noqa: BLE001  outermost frame of a stream
            _log.exception("stream failed", extra={"stream": key[0], "epoch": key[1]})
            self._fail(key, error)
            return None
        finally:
            self._crash_marker.note("")

    def _fail(self, key: _Key, error: Exception) -> None:
        self._lanes.pop(key, None)
        message = f"the stream cannot be decoded ({type(error).__name__})"
        self._channel.send(StreamFailed(stream=key[0], epoch=key[1], cause=DropCause.DECODE_ERROR, message=message))

    def _examine(self, taken: list[tuple[LiveLane, LaneSample]]) -> None:
        samples = [self._sample(lane, item) for lane, item in taken]
        results = self._analyser.examine(samples)
        for (lane, item), sample, examined in zip(taken, samples, results, strict=True):
            lane.report(examined.unscored)
            self._channel.send(Observed(observation=self._observation(lane, item, sample, examined)))

    @staticmethod
    def _sample(lane: LiveLane, item: LaneSample) -> FrameSample:
        name = stream_name(lane.opened.stream, lane.opened.epoch)
        return FrameSample(item.picture.rgb(), item.picture.pts_s, lane.tracks, name)

    def _observation(
        self, lane: LiveLane, item: LaneSample, sample: FrameSample, examined: ExaminedFrame
    ) -> Observation:
        height_px, width_px = sample.rgb.shape[:2]
        return Observation(
            stream=lane.opened.stream,
            epoch=lane.opened.epoch,
            sequence=item.picture.sequence,
            cell=item.cell,
            frame_number=item.frame_number,
            pts_s=item.picture.pts_s,
            capture_s=item.picture.capture_s,
            width_px=width_px,
            height_px=height_px,
            faces=examined.faces,
            unscored=examined.unscored,
            pace=item.pace,
            preview_jpeg=self._renderer.preview(sample.rgb, examined),
            pictures=self._pictures(item, sample, examined),
        )

    def _pictures(self, item: LaneSample, sample: FrameSample, examined: ExaminedFrame) -> Pictures | None:
        """Renders evidence pictures of a suspicious sample, every second one at the base pace and as often in time at
        others."""
        if item.cell % PICTURED_CELLS:
            return None
        return self._renderer.evidence(sample.rgb, examined)

    def _return_credits(self, key: _Key, lane: LiveLane, now: bool) -> None:
        """Returns credits before the samples are scored, so that units keep arriving meanwhile."""
        stream, epoch = key
        if consumed := lane.take_consumed(now):
            refused = lane.take_refused()
            self._channel.send(
                Consumed(stream=stream, epoch=epoch, units=consumed, counts=lane.counts, refused=refused)
            )

    def _report(self, key: _Key, lane: LiveLane) -> None:
        stream, epoch = key
        if lane.wants_keyframe():
            self._channel.send(KeyframeNeeded(stream=stream, epoch=epoch))
        if lane.is_over:
            del self._lanes[key]
            self._channel.send(StreamClosed(stream=stream, epoch=epoch, counts=lane.counts))

    def _advance_job(self) -> None:
        if not self._jobs:
            return
        job = self._jobs.popleft()
        self._crash_marker.note(job.request.job)
        message = job.step()
        self._crash_marker.note("")
        if message is not None:
            self._channel.send(message)
        if job.is_over:
            return_memory()
        else:
            self._jobs.append(job)
