"""One running stream: carries units from its source to a worker, and turns observations into verdicts."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec
import structlog

from stream.display_transform import AS_DECODED, DisplayTransform
from stream.events import Event, Label, StreamEnded, StreamGap, StreamStalled, StreamStarted, Verdict
from stream.evidence_buffer import AlarmWatch
from stream.face_id_handover import HandoverBuffer
from stream.frame_sampler import SamplingGrid, phase_of, rate_hz_of
from stream.identity import StreamIdentity
from stream.incident_case import Origin
from stream.load_controller import StreamLoad
from stream.media_clock import MediaClock
from stream.rolling_verdicts import ObservationContext, RollingVerdicts
from stream.temporal_layers import BASE, FRAMES_PER_SAMPLE, LayerFilter
from stream.types import Codec, DropCause, EndReason, FaceObservation, FrameCounts, MediaUnit, ModelRef, Observation
from stream.undecodable_media import UndecodableMedia

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
    """A stream to start. `source` is the protocol that its media arrives by; `sample` marks the demonstration call."""

    identity: StreamIdentity
    source: str
    codec: Codec
    sample: bool = False

    @property
    def stream(self) -> str:
        return self.identity.stream


class Preview(NamedTuple):
    """The newest sampled frame as a small JPEG, and the faces on it."""

    jpeg: bytes
    sequence: int
    pts_s: float
    faces: tuple[FaceObservation, ...]


class SessionHost(Protocol):
    """The owner of a session, as the session sees it. All calls happen in the event loop; none may block."""

    def publish(self, event: Event) -> None: ...

    def alarm(self, change: AlarmChange) -> None:
        """Takes an alarm that opened or closed; the session publishes the verdict or end that says so next."""

    def pictured(self, observation: Observation) -> None:
        """Takes a sample that was kept as pictures because it speaks for an alarm."""

    def model(self) -> ModelRef | None: ...

    def evidence(self) -> EvidenceModel | None: ...

    def ended(self, session: Session) -> None: ...

    def spawn(self, session: Session, reason: EndReason, message: str) -> None:
        """Ends the session in a task of the owner."""


class Session:
    """One epoch of a stream, until `end` or `abandon`; the `StreamSink` of its worker. Used from one event loop."""

    def __init__(
        self, spec: StreamSpec, epoch: int, config: StreamConfig, *, host: SessionHost, control: SourceControl,
        attach: Callable[[Session], WorkerFeed], resume_from: Verdict | None = None,
    ) -> None:
        """Connects the session to a worker with `attach`, whose errors it raises.

        `resume_from` is the last verdict that another process published of this epoch; the session continues from it.
        """
        phase = phase_of(spec.stream, epoch)
        self.spec = spec
        self.epoch = epoch
        self.started_s = time.time()
        self.verdict: Verdict | None = None
        self.preview: Preview | None = None
        self.size_px = (0, 0)
        self._host = host
        self._control = control
        self._windows = config.windows
        self._monitor = RollingVerdicts(spec.stream, epoch, phase, config)
        self._alarms = AlarmWatch(_origin_of(spec, epoch), config)
        self._handover: HandoverBuffer | None = None
        if resume_from is not None:
            self._monitor.restore(resume_from)
            self._alarms.restore(resume_from)
            self._handover = HandoverBuffer(resume_from, SamplingGrid(config.windows.sample_rate_hz, phase))
        self._timeline = MediaClock()
        self._layers = LayerFilter(FRAMES_PER_SAMPLE * config.windows.sample_rate_hz)
        self._skipped = 0
        self._sequence = 0
        self._newest_s = 0.0
        self._began_s = time.monotonic()
        self._judged_s = self._gap_s = 0.0
        self._verdict_every_s = 1.0
        self._fed_s = self._began_s
        self._stalled = self._is_behind = False
        self._fed_pts_s = 0.0
        self._undecodable = UndecodableMedia()
        self._gap_reported_s: dict[DropCause, float] = {}
        self._final: FrameCounts | None = None
        self._ending: asyncio.Future[None] | None = None
        self._feed = attach(self)

    @property
    def stream(self) -> str:
        return self.spec.stream

    @property
    def frames(self) -> FrameCounts:
        """Cumulative counts of this epoch."""
        counts = self._feed.counts if self._final is None else self._final
        return msgspec.structs.replace(counts, received=counts.received + self._skipped, skipped=self._skipped)

    def announce(self) -> None:
        """Publishes the start of the stream. The host calls it once, before any media."""
        spec, identity = self.spec, self.spec.identity
        self._host.publish(
            StreamStarted(
                stream=identity.stream, epoch=self.epoch, source=spec.source, started_s=self.started_s,
                sample=spec.sample, call_id=identity.call_id, participant_id=identity.participant_id,
            )
        )

    def feed(
        self, payload: bytes, pts_s: float, keyframe: bool, capture_s: float, layer: Layer = BASE, *,
        display: DisplayTransform = AS_DECODED,
    ) -> None:
        """Takes one encoded unit from the source; never blocks, and ignores units once the stream is ending.

        Skips units of temporal layers that the sampling does not need; the others are numbered without a gap.
        """
        if self._ending is not None:
            return
        self._fed_s, self._stalled = time.monotonic(), False
        placed_s = self._fed_pts_s = self._timeline.place(pts_s)
        if not self._layers.wants(layer, placed_s, keyframe):
            self._skipped += 1
            return
        unit = MediaUnit(
            stream=self.stream, epoch=self.epoch, sequence=self._sequence, codec=self.spec.codec, payload=payload,
            pts_s=placed_s, capture_s=capture_s, keyframe=keyframe, display=display,
        )
        self._sequence += 1
        self._feed.feed(unit)

    def feed_unit(self, unit: MediaUnit) -> None:
        """As `feed`, with the publisher's own sequence and media time."""
        if self._ending is None:
            self._fed_s, self._stalled, self._fed_pts_s = time.monotonic(), False, unit.pts_s
            self._feed.feed(unit)

    def set_pace(self, pace: int) -> None:
        """Sets the sampling density (`stream.frame_sampler.Pace`) from now on."""
        if self._ending is None:
            self._feed.set_pace(pace)
            windows = self._windows
            rate_hz = rate_hz_of(pace, windows.sample_rate_hz)
            self._layers.needed_hz = FRAMES_PER_SAMPLE * rate_hz
            self._verdict_every_s = max(windows.hop_s, 1 / rate_hz) + windows.hop_s

    @property
    def problem(self) -> DropCause | None:
        """Why the media that arrives cannot be decoded; None while it can."""
        return self._undecodable.cause

    def watch(self, now_s: float) -> None:
        """Publishes what no observation tells: silence, and media that cannot be decoded. `now_s` is monotonic.

        The host calls it every half second or so.
        """
        self._watch_decoding(now_s)
        silent_s = now_s - self._fed_s
        if silent_s < STALLED_AFTER_S or self._stalled or self._ending is not None:
            return
        self._stalled = True
        log.warning("stream stalled", stream=self.stream, epoch=self.epoch)
        self._host.publish(
            StreamStalled(stream=self.stream, epoch=self.epoch, silent_s=silent_s, from_s=self._newest_s)
        )

    def _watch_decoding(self, now_s: float) -> None:
        """Publishes one gap, and verdicts without frames, while media arrives that cannot be decoded."""
        was_undecodable = self.problem is not None
        if self._ending is not None or not self._undecodable.update(self.frames, now_s):
            return
        if self.problem is not None and not was_undecodable:
            self.gap(self.problem)
        self._publish_verdicts(self._monitor.pass_unseen(self._fed_pts_s, self._context()))

    def load(self, now_s: float) -> StreamLoad:
        """Returns what the load controller needs; `now_s` is monotonic."""
        verdict = self.verdict
        if verdict is None:
            return StreamLoad(self.stream, 0.0, False, self._overdue_ms(now_s))
        suspicion = max((face.suspicion for face in verdict.faces), default=0.0)
        # The age of an old verdict says nothing about the current load.
        ages = (verdict.age_ms if now_s - self._judged_s < _FRESH_S else None, self._overdue_ms(now_s))
        age_ms = max((age for age in ages if age is not None), default=None)
        return StreamLoad(self.stream, suspicion, verdict.label is Label.REAL, age_ms)

    def is_starting(self, now_s: float) -> bool:
        """Whether verdict ages do not show the cost of this stream yet; `now_s` is monotonic."""
        return now_s - self._began_s < (_STARTING_S if self.verdict is None else self._windows.window_s)

    def _overdue_ms(self, now_s: float) -> float | None:
        """Returns the least age of the next verdict while media waits, or was dropped, for longer than one period.

        A gap counts as a new start: a lost worker or packet is no sign of load.
        """
        if now_s - self._fed_s > 1 or not (self._feed.waiting or self._is_behind):
            return None
        overdue_s = now_s - max(self._judged_s, self._began_s, self._gap_s) - self._verdict_every_s
        return overdue_s * 1000 if overdue_s > 0 else None

    async def end(self, reason: EndReason, message: str = "") -> None:
        """Flushes, then publishes the last verdicts and the end. Idempotent; every call returns after that."""
        if self._ending is not None:
            await asyncio.shield(self._ending)
            return
        self._ending = asyncio.get_running_loop().create_future()
        try:
            self._final = await self._feed.close()
            for known in () if self._handover is None else self._handover.release():
                self._process(known)
            if self._undecodable.is_whole(self._final):
                self._publish_verdicts(self._monitor.pass_unseen(self._fed_pts_s, self._context()))
            self._publish_verdicts(self._monitor.finish(self._context()))
        finally:
            self._publish_alarm(self._alarms.end(time.time()))
            self._host.publish(
                StreamEnded(stream=self.stream, epoch=self.epoch, reason=reason, message=message, frames=self.frames)
            )
            log.info("stream ended", stream=self.stream, epoch=self.epoch, reason=reason.value)
            self._host.ended(self)
            self._ending.set_result(None)

    def abandon(self) -> None:
        """Abandons the session without publishing; another consumer has taken the stream over."""
        if self._ending is None:
            self._ending = asyncio.get_running_loop().create_future()
            self._ending.set_result(None)
            self._feed.abandon()

    async def hang_up(self) -> None:
        """Closes the source."""
        await self._control.close()

    def observed(self, observation: Observation) -> None:
        for known in (observation,) if self._handover is None else self._handover.take(observation):
            self._process(known)

    def _process(self, observation: Observation) -> None:
        self._alarms.observe(observation)
        if observation.pictures is not None:
            self._host.pictured(observation)
        self._newest_s, self._is_behind = observation.pts_s, False
        self.size_px = (observation.width_px, observation.height_px)
        if observation.preview_jpeg is not None:
            self.preview = Preview(
                observation.preview_jpeg, observation.sequence, observation.pts_s, observation.faces
            )
        self._publish_verdicts(self._monitor.observe(observation, self._context()))

    def used(self, units: int, refused: Sequence[tuple[int, DropCause]]) -> None:
        """No-op: a live source cannot be slowed down, and the pool bounds the queue."""

    def crashed(self) -> None:
        """No-op: the worker pool reports the gap that follows."""

    def keyframe_needed(self) -> None:
        self._control.request_keyframe()

    def gap(self, cause: DropCause) -> None:
        now_s = time.monotonic()
        if cause is DropCause.QUEUE_FULL:
            self._is_behind = True
        else:
            self._gap_s = now_s
        if now_s - self._gap_reported_s.get(cause, -_GAP_EVERY_S) < _GAP_EVERY_S:
            return
        self._gap_reported_s[cause] = now_s
        log.warning("stream gap", stream=self.stream, epoch=self.epoch, cause=cause.value)
        self._host.publish(
            StreamGap(stream=self.stream, epoch=self.epoch, cause=cause.value, from_s=self._newest_s)
        )

    def failed(self, cause: DropCause, message: str) -> None:
        self._host.spawn(self, EndReason.FAILED, f"{cause.value}: {message}")

    def _publish_verdicts(self, verdicts: tuple[Verdict, ...]) -> None:
        for verdict in verdicts:
            self.verdict = verdict
            self._judged_s = time.monotonic()
            self._publish_alarm(self._alarms.follow(verdict, time.time(), self._host.evidence()))
            self._host.publish(verdict)

    def _publish_alarm(self, change: AlarmChange | None) -> None:
        if change is not None:
            self._host.alarm(change)

    def _context(self) -> ObservationContext:
        return ObservationContext(time.time(), self.frames, self._host.model(), self._host.evidence())


def _origin_of(spec: StreamSpec, epoch: int) -> Origin:
    return Origin(
        stream=spec.stream, epoch=epoch, source=spec.source, sample=spec.sample, call_id=spec.identity.call_id,
        participant_id=spec.identity.participant_id,
    )
