"""One running stream: units from its source to a worker, observations from there to verdicts on the bus."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec
import structlog

from stream.config import WindowConfig
from stream.events import Event, Label, StreamEnded, StreamGap, StreamStalled, StreamStarted, Verdict
from stream.evidence_buffer import AlarmWatch
from stream.face_id_handover import Returning
from stream.frame_sampler import Grid, rate_hz_of
from stream.incident_case import Origin
from stream.load_controller import StreamLoad
from stream.media_clock import Timeline
from stream.rolling_verdicts import Moment, Monitor
from stream.temporal_layers import BASE, FRAMES_PER_SAMPLE, LayerFilter
from stream.types import Codec, DropCause, EndReason, FaceObservation, FrameCounts, MediaUnit, ModelRef, Observation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from stream.config import StreamConfig
    from stream.cusum import EvidenceModel
    from stream.incident_case import AlarmChange
    from stream.protocols import SourceControl, WorkerFeed
    from stream.temporal_layers import Layer

log = structlog.get_logger(__name__)

_GAP_EVERY_S = 1.0
_FRESH_S = 3.0
_STARTING_S = 10.0
STALLED_AFTER_S = 5.0


class StreamSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a stream when it starts. `sample` marks the demonstration call."""

    stream: str
    source: str
    codec: Codec
    sample: bool = False
    call_id: str = ""
    participant_id: str = ""


class Preview(NamedTuple):
    """The newest sampled frame, small, and the faces on it."""

    jpeg: bytes
    sequence: int
    pts_s: float
    faces: tuple[FaceObservation, ...]


class Surroundings(Protocol):
    """What a session needs of the service that owns it."""

    def publish(self, event: Event) -> None: ...

    def alarm(self, change: AlarmChange) -> None:
        """An alarm opened or is over; the verdict, or the end, that says so is published next."""

    def pictured(self, observation: Observation) -> None:
        """A sample that speaks for an alarm was kept as pictures."""

    def model(self) -> ModelRef | None: ...

    def evidence(self) -> EvidenceModel | None: ...

    def ended(self, session: Session) -> None: ...

    def spawn(self, session: Session, reason: EndReason, message: str) -> None:
        """Ends the session in a task of the service."""


class Session:
    """A stream between `StreamService.open` and its end. Used from the event loop only."""

    def __init__(self, spec: StreamSpec, epoch: int, phase: float, around: Surroundings) -> None:
        self.spec = spec
        self.epoch = epoch
        self.started_s = time.time()
        self.verdict: Verdict | None = None
        self.preview: Preview | None = None
        self.size_px = (0, 0)
        self._around = around
        self._windows = WindowConfig()
        self._phase = phase
        self._monitor: Monitor | None = None
        self._alarms: AlarmWatch | None = None
        self._returning: Returning | None = None
        self._feed: WorkerFeed | None = None
        self._control: SourceControl | None = None
        self._timeline = Timeline()
        self._layers = LayerFilter(FRAMES_PER_SAMPLE * self._windows.sample_rate_hz)
        self._skipped = 0
        self._sequence = 0
        self._newest_s = 0.0
        self._began_s = time.monotonic()
        self._judged_s = self._gap_s = 0.0
        self._verdict_every_s = 1.0
        self._fed_s = self._began_s
        self._stalled = self._is_behind = False
        self._gap_told_s: dict[DropCause, float] = {}
        self._final: FrameCounts | None = None
        self._ending: asyncio.Future[None] | None = None

    @property
    def stream(self) -> str:
        return self.spec.stream

    @property
    def frames(self) -> FrameCounts:
        """Cumulative counts of this epoch."""
        if self._final is not None:
            counts = self._final
        else:
            counts = self._feed.counts if self._feed is not None else FrameCounts()
        return msgspec.structs.replace(counts, received=counts.received + self._skipped, skipped=self._skipped)

    def begin(self, config: StreamConfig, control: SourceControl, attach: Callable[[Session], WorkerFeed]) -> None:
        """Joins source and worker and announces the stream. Called once, by the owner."""
        self._monitor = Monitor(self.stream, self.epoch, self._phase, config)
        self._control = control
        self._windows = config.windows
        self._layers.needed_hz = FRAMES_PER_SAMPLE * config.windows.sample_rate_hz
        self._feed = attach(self)
        spec = self.spec
        self._alarms = AlarmWatch(_origin_of(spec, self.epoch), config)
        self._around.publish(
            StreamStarted(
                stream=spec.stream, epoch=self.epoch, source=spec.source, started_s=self.started_s, sample=spec.sample,
                call_id=spec.call_id, participant_id=spec.participant_id,
            )
        )

    def go_on_from(self, verdict: Verdict) -> None:
        """Goes on behind the last verdict that another process published of this epoch. To be called before media."""
        if self._monitor is not None and self._alarms is not None:
            self._monitor.restore(verdict)
            self._alarms.restore(verdict)
            self._returning = Returning(verdict, Grid(self._windows.sample_rate_hz, self._phase))

    def feed(self, payload: bytes, pts_s: float, keyframe: bool, capture_s: float, layer: Layer = BASE) -> None:
        """Takes one encoded unit from the source; never blocks. Ignored once the stream is ending.

        Units of temporal layers that the sampling does not need go no further; the others are numbered without a gap.
        """
        if self._feed is None or self._ending is not None:
            return
        self._fed_s, self._stalled = time.monotonic(), False
        placed_s = self._timeline.place(pts_s)
        if not self._layers.wants(layer, placed_s, keyframe):
            self._skipped += 1
            return
        unit = MediaUnit(
            stream=self.stream, epoch=self.epoch, sequence=self._sequence, codec=self.spec.codec, payload=payload,
            pts_s=placed_s, capture_s=capture_s, keyframe=keyframe,
        )
        self._sequence += 1
        self._feed.feed(unit)

    def feed_unit(self, unit: MediaUnit) -> None:
        """As `feed`, with the sequence and the media time that the publisher gave it."""
        if self._feed is not None and self._ending is None:
            self._fed_s, self._stalled = time.monotonic(), False
            self._feed.feed(unit)

    def set_pace(self, pace: int) -> None:
        """Samples this densely from now on."""
        if self._feed is not None and self._ending is None:
            self._feed.set_pace(pace)
            windows = self._windows
            rate_hz = rate_hz_of(pace, windows.sample_rate_hz)
            self._layers.needed_hz = FRAMES_PER_SAMPLE * rate_hz
            self._verdict_every_s = max(windows.hop_s, 1 / rate_hz) + windows.hop_s

    def watch(self, now_s: float) -> None:
        """Says once that nothing comes any more; `now_s` is monotonic. To be called every now and then."""
        silent_s = now_s - self._fed_s
        if silent_s < STALLED_AFTER_S or self._stalled or self._ending is not None:
            return
        self._stalled = True
        log.warning("stream stalled", stream=self.stream, epoch=self.epoch)
        self._around.publish(
            StreamStalled(stream=self.stream, epoch=self.epoch, silent_s=silent_s, from_s=self._newest_s)
        )

    def load(self, now_s: float) -> StreamLoad:
        """What the ladder needs to know; `now_s` is monotonic."""
        verdict = self.verdict
        if verdict is None:
            return StreamLoad(self.stream, 0.0, False, self._overdue_ms(now_s))
        suspicion = max((face.suspicion for face in verdict.faces), default=0.0)
        # A verdict that is long past says nothing of now.
        ages = (verdict.age_ms if now_s - self._judged_s < _FRESH_S else None, self._overdue_ms(now_s))
        age_ms = max((age for age in ages if age is not None), default=None)
        return StreamLoad(self.stream, suspicion, verdict.label is Label.REAL, age_ms)

    def is_starting(self, now_s: float) -> bool:
        """Whether it does not show yet in the ages of verdicts what this stream costs; `now_s` is monotonic."""
        return now_s - self._began_s < (_STARTING_S if self.verdict is None else self._windows.window_s)

    def _overdue_ms(self, now_s: float) -> float | None:
        """The age that the next verdict will have at least, where media waits, or waited in vain, for longer than
        verdicts are apart.

        Another gap counts as a new start: nobody is slower because a worker or a packet was lost.
        """
        if self._feed is None or now_s - self._fed_s > 1 or not (self._feed.waiting or self._is_behind):
            return None
        overdue_s = now_s - max(self._judged_s, self._began_s, self._gap_s) - self._verdict_every_s
        return overdue_s * 1000 if overdue_s > 0 else None

    async def end(self, reason: EndReason, message: str = "") -> None:
        """Flushes, publishes what is left and the end. Idempotent; every caller returns after the end is out."""
        if self._ending is not None:
            await asyncio.shield(self._ending)
            return
        self._ending = asyncio.get_running_loop().create_future()
        try:
            if self._feed is not None:
                self._final = await self._feed.close()
            for known in () if self._returning is None else self._returning.release():
                self._look_at(known)
            self._publish_verdicts(self._monitor.finish(self._moment()) if self._monitor is not None else ())
        finally:
            self._tell(self._alarms.end(time.time()) if self._alarms is not None else None)
            self._around.publish(
                StreamEnded(stream=self.stream, epoch=self.epoch, reason=reason, message=message, frames=self.frames)
            )
            log.info("stream ended", stream=self.stream, epoch=self.epoch, reason=reason.value)
            self._around.ended(self)
            self._ending.set_result(None)

    def abandon(self) -> None:
        """Ends at once without another word: somebody else goes on with this stream."""
        if self._feed is not None and self._ending is None:
            self._ending = asyncio.get_running_loop().create_future()
            self._ending.set_result(None)
            self._feed.abandon()

    async def hang_up(self) -> None:
        """Closes the source."""
        if self._control is not None:
            await self._control.close()

    def observed(self, observation: Observation) -> None:
        for known in (observation,) if self._returning is None else self._returning.take(observation):
            self._look_at(known)

    def _look_at(self, observation: Observation) -> None:
        if self._monitor is None or self._alarms is None:
            return
        self._alarms.observe(observation)
        if observation.pictures is not None:
            self._around.pictured(observation)
        self._newest_s, self._is_behind = observation.pts_s, False
        self.size_px = (observation.width_px, observation.height_px)
        if observation.preview_jpeg is not None:
            self.preview = Preview(
                observation.preview_jpeg, observation.sequence, observation.pts_s, observation.faces
            )
        self._publish_verdicts(self._monitor.observe(observation, self._moment()))

    def used(self, units: int, refused: Sequence[tuple[int, DropCause]]) -> None:
        """The pool bounds what waits; a live source cannot be slowed down."""

    def crashed(self) -> None:
        """The gap that follows is all there is to tell."""

    def keyframe_needed(self) -> None:
        if self._control is not None:
            self._control.request_keyframe()

    def gap(self, cause: DropCause) -> None:
        now_s = time.monotonic()
        if cause is DropCause.QUEUE_FULL:
            self._is_behind = True
        else:
            self._gap_s = now_s
        if now_s - self._gap_told_s.get(cause, -_GAP_EVERY_S) < _GAP_EVERY_S:
            return
        self._gap_told_s[cause] = now_s
        log.warning("stream gap", stream=self.stream, epoch=self.epoch, cause=cause.value)
        self._around.publish(
            StreamGap(stream=self.stream, epoch=self.epoch, cause=cause.value, from_s=self._newest_s)
        )

    def failed(self, cause: DropCause, message: str) -> None:
        self._around.spawn(self, EndReason.FAILED, f"{cause.value}: {message}")

    def _publish_verdicts(self, verdicts: tuple[Verdict, ...]) -> None:
        for verdict in verdicts:
            self.verdict = verdict
            self._judged_s = time.monotonic()
            if self._alarms is not None:
                self._tell(self._alarms.follow(verdict, time.time(), self._around.evidence()))
            self._around.publish(verdict)

    def _tell(self, change: AlarmChange | None) -> None:
        if change is not None:
            self._around.alarm(change)

    def _moment(self) -> Moment:
        return Moment(time.time(), self.frames, self._around.model(), self._around.evidence())


def _origin_of(spec: StreamSpec, epoch: int) -> Origin:
    return Origin(
        stream=spec.stream, epoch=epoch, source=spec.source, sample=spec.sample, call_id=spec.call_id,
        participant_id=spec.participant_id,
    )
