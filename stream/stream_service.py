"""Starts, lists and stops streams; judges files; drains. The one owner of sessions."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec
import structlog

from stream.call_history import CallRecords
from stream.errors import ServiceDraining, ServiceFull, StreamExists, StreamUnknown
from stream.event_sink import DirectOutlet
from stream.events import Event, Verdict
from stream.file_verdict import FileRule, FileVerdict, JudgeOptions, judge_file
from stream.frame_sampler import Pace, phase_of, rate_hz_of
from stream.label_decision import Policy, policy_of
from stream.load_controller import Ladder
from stream.stream_session import Preview, Session, StreamSpec
from stream.types import EndReason, FrameCounts, ModelRef
from stream.worker_messages import FileFrame, JobDone, OpenStream
from stream.worker_pool import FileRequest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from stream.config import StreamConfig
    from stream.cusum import EvidenceModel
    from stream.event_bus import Bus
    from stream.event_sink import Outlet
    from stream.incident_case import AlarmChange
    from stream.protocols import Elsewhere, SourceControl, WorkerFeed
    from stream.types import Observation
    from stream.worker_pool import WorkerPool

log = structlog.get_logger(__name__)

_RETRY_AFTER_S = (5, 10)
_RETRY_STARTING_S = (1, 3)
_START_AT_ONCE, _START_SHARE = 8, 0.25
_START_PRESSED = 2
_BALANCE_EVERY_S = 0.5
_REMEMBERED_EPOCHS = 4096


class StreamInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One stream as lists show it; an ended one stays for `StreamConfig.ended_kept_s`."""

    stream: str
    epoch: int
    source: str
    sample: bool
    call_id: str
    participant_id: str
    started_s: float
    state: Literal["live", "ended"]
    width_px: int
    height_px: int
    verdict: Verdict | None
    frames: FrameCounts


class _Ended(NamedTuple):
    """What is kept of a stream until `until_s`, monotonic."""

    until_s: float
    info: StreamInfo
    preview: Preview | None


class ServiceStatus(NamedTuple):
    """`ready`: at least one worker is warm. `problem` says why there is no model, or is empty. `overloaded`: some
    stream is sampled less often than it should be, because verdicts would come late."""

    ready: bool
    model: ModelRef | None
    problem: str
    streams: int
    workers_ready: int
    workers_wanted: int
    overloaded: bool = False


class StreamService:
    """All streams of this process. Used from one event loop."""

    def __init__(self, config: StreamConfig, pool: WorkerPool, bus: Bus, elsewhere: Elsewhere | None = None) -> None:
        """Live streams go to the pool, or `elsewhere`; files always to the pool."""
        self._config = config
        self._elsewhere = elsewhere
        self._pool = pool
        self._bus = bus
        self.records = CallRecords(config.windows.hop_s)
        bus.listen(lambda event: self.records.follow(event, time.monotonic()))
        self.outlet: Outlet = DirectOutlet(bus)     # whoever keeps incidents puts another one here before calls come
        self._live: dict[str, Session] = {}
        self._ended: dict[str, _Ended] = {}
        self._epochs: dict[str, int] = {}
        self._jobs = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._balancing: asyncio.Task[None] | None = None
        self._ladder = Ladder(config.ladder)
        self._draining = False

    async def start(self) -> None:
        """Starts the workers; returns when the first is warm. Raises WorkerLost if none can be started."""
        await self._pool.start()
        self._balancing = asyncio.get_running_loop().create_task(self._balance(), name="sampling ladder")

    async def close(self) -> None:
        """Ends every stream with its last verdict out, then the workers. Idempotent."""
        self._draining = True
        async with asyncio.TaskGroup() as group:
            for stream in tuple(self._live):
                group.create_task(self.stop(stream, EndReason.SHUTDOWN))
        await asyncio.gather(*self._tasks)
        if self._balancing is not None:
            self._balancing.cancel()
            await asyncio.gather(self._balancing, return_exceptions=True)
        await self.outlet.settle()
        self._bus.close()
        await self._pool.close()

    @property
    def status(self) -> ServiceStatus:
        pool = self._pool.status
        return ServiceStatus(
            ready=pool.ready > 0 and not self._draining,
            model=pool.model,
            problem=pool.problem,
            streams=len(self._live),
            workers_ready=pool.ready,
            workers_wanted=pool.wanted,
            overloaded=self._ladder.reduced or self._ladder.full,
        )

    def open(self, spec: StreamSpec, control: SourceControl) -> Session:
        """Admits a stream. Raises StreamExists, ServiceFull, ServiceDraining."""
        self._check_place(spec.stream)
        epoch = self._next_epoch(spec.stream)
        phase = phase_of(spec.stream, epoch)
        session = Session(spec, epoch, phase, self)
        request = OpenStream(
            stream=spec.stream, epoch=epoch, codec=spec.codec, rate_hz=self._config.windows.sample_rate_hz, phase=phase
        )

        def attach(sink: Session) -> WorkerFeed:
            return (self._elsewhere or self._pool).open(request, sink)

        self._live[spec.stream] = session
        self._ended.pop(spec.stream, None)
        try:
            session.begin(self._config, control, attach)
        except BaseException:
            del self._live[spec.stream]
            raise
        log.info("stream started", stream=spec.stream, epoch=epoch, source=spec.source, codec=spec.codec.value)
        return session

    def is_live(self, stream: str) -> bool:
        return stream in self._live

    def list(self) -> tuple[StreamInfo, ...]:
        """Running streams in the order they started, then those that ended lately."""
        self._forget_ended()
        live = tuple(_info(session, "live") for session in self._live.values())
        return live + tuple(ended.info for ended in self._ended.values())

    def get(self, stream: str) -> StreamInfo:
        """Raises StreamUnknown."""
        self._forget_ended()
        if stream in self._live:
            return _info(self._live[stream], "live")
        if stream in self._ended:
            return self._ended[stream].info
        raise StreamUnknown(f"no stream {stream!r} is running or ended lately")

    def preview(self, stream: str) -> Preview | None:
        """The newest sampled frame of a stream that is running or ended lately, if any. Raises StreamUnknown."""
        if stream in self._live:
            return self._live[stream].preview
        self._forget_ended()
        if stream in self._ended:
            return self._ended[stream].preview
        raise StreamUnknown(f"no stream {stream!r} is running or ended lately")

    async def stop(self, stream: str, reason: EndReason = EndReason.STOPPED) -> None:
        """Hangs the source up and ends the stream. Raises StreamUnknown."""
        session = self._live.get(stream)
        if session is None:
            raise StreamUnknown(f"no stream {stream!r} is running")
        await session.hang_up()
        await session.end(reason)

    async def judge(
        self, path: Path, options: JudgeOptions, progress: Callable[[int, int], None] | None = None
    ) -> FileVerdict:
        """Judges one file in a worker. `progress(done, planned)` is called per scored frame.

        Raises MediaRefused, ServiceFull, ServiceDraining, WorkerLost.
        """
        if self._draining:
            raise ServiceDraining("the service is shutting down")
        if self._jobs >= self._config.max_jobs:
            raise ServiceFull(f"{self._jobs} files are being judged", _retry_after_s())
        self._jobs += 1
        try:
            return await self._judge(path, options, progress)
        finally:
            self._jobs -= 1

    async def _judge(
        self, path: Path, options: JudgeOptions, progress: Callable[[int, int], None] | None
    ) -> FileVerdict:
        request = FileRequest(
            path=path, max_samples=options.max_samples, rate_hz=options.rate_hz, heat_maps=options.heat_map
        )
        frames: list[FileFrame] = []
        async for message in self._pool.run_file(request):
            if isinstance(message, JobDone):
                return judge_file(frames, message, self._file_rule())
            frames.append(message)
            if progress is not None:
                progress(message.done, message.planned)
        raise AssertionError("a file job ends with JobDone or an exception")

    def _file_rule(self) -> FileRule:
        status, config = self._pool.status, self._config
        fastest_hz = rate_hz_of(Pace.FAST, config.windows.sample_rate_hz)
        return FileRule(
            decision=config.decision, model=status.model, evidence=status.evidence, fastest_hz=fastest_hz
        )

    def publish(self, event: Event) -> None:
        if self._elsewhere is None or self._elsewhere.is_told_here(event):
            self.outlet.publish(event)

    def alarm(self, change: AlarmChange) -> None:
        self.outlet.alarm(change)

    def pictured(self, observation: Observation) -> None:
        self.records.pictured(observation)

    def model(self) -> ModelRef | None:
        return self._pool.status.model

    def policy(self) -> Policy | None:
        """What the operator's budget comes to with the loaded model; None where its evidence is not known."""
        evidence = self.evidence()
        if evidence is None:
            return None
        base_hz = self._config.windows.sample_rate_hz
        return policy_of(self._config.decision, (rate_hz_of(Pace.FAST, base_hz), base_hz), evidence)

    def evidence(self) -> EvidenceModel | None:
        return self._pool.status.evidence

    def ended(self, session: Session) -> None:
        if self._live.get(session.stream) is session:
            del self._live[session.stream]
            until_s = time.monotonic() + self._config.ended_kept_s
            self._ended[session.stream] = _Ended(until_s, _info(session, "ended"), session.preview)
            self._forget_ended()

    def spawn(self, session: Session, reason: EndReason, message: str) -> None:
        task = asyncio.get_running_loop().create_task(self._give_up(session, reason, message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _balance(self) -> None:
        """Keeps sampling within what the workers can do."""
        while True:
            await asyncio.sleep(_BALANCE_EVERY_S)
            now_s = time.monotonic()
            paces = self._ladder.plan([session.load(now_s) for session in self._live.values()], now_s)
            for session in self._live.values():
                session.watch(now_s)
            for stream, pace in paces.items():
                self._live[stream].set_pace(pace)

    async def _give_up(self, session: Session, reason: EndReason, message: str) -> None:
        await session.hang_up()
        await session.end(reason, message)

    def check_admission(self, stream: str, arriving: int = 0) -> None:
        """Whether to let a source in that will be opened later. Raises StreamExists, ServiceFull, ServiceDraining.

        Sources that come all at once are let in bit by bit, so that what they cost is known before the next ones come;
        `arriving` are those that were let in and are not opened yet.
        """
        self._check_place(stream, arriving)
        if self._ladder.full:
            raise ServiceFull("verdicts come late although all streams are sampled at their least", _retry_after_s())
        now_s = time.monotonic()
        starting = arriving + sum(session.is_starting(now_s) for session in self._live.values())
        at_once = _START_PRESSED if self._ladder.pressed else max(_START_AT_ONCE, _START_SHARE * len(self._live))
        if starting >= at_once:
            raise ServiceFull(f"{starting} streams are starting", _retry_after_s(_RETRY_STARTING_S))

    def _check_place(self, stream: str, arriving: int = 0) -> None:
        if self._draining:
            raise ServiceDraining("the service is shutting down")
        if stream in self._live:
            raise StreamExists(f"stream {stream!r} is running")
        if len(self._live) + arriving >= self._config.max_streams:
            raise ServiceFull(f"{len(self._live)} streams are running, which is the limit", _retry_after_s())

    def _next_epoch(self, stream: str) -> int:
        """Unix seconds of the start, or one more than the last epoch of this id, so that none is used twice."""
        epoch = max(int(time.time()), self._epochs.pop(stream, 0) + 1)
        self._epochs[stream] = epoch
        if len(self._epochs) > _REMEMBERED_EPOCHS:
            del self._epochs[next(iter(self._epochs))]
        return epoch

    def _forget_ended(self) -> None:
        now_s = time.monotonic()
        for stream in [s for s, ended in self._ended.items() if ended.until_s < now_s]:
            del self._ended[stream]
        while len(self._ended) > self._config.max_streams:
            del self._ended[next(iter(self._ended))]


def _retry_after_s(between: tuple[int, int] = _RETRY_AFTER_S) -> int:
    """Spread, so that those who were refused together do not come back together."""
    return random.randint(*between)


def _info(session: Session, state: Literal["live", "ended"]) -> StreamInfo:
    spec = session.spec
    return StreamInfo(
        stream=spec.stream, epoch=session.epoch, source=spec.source, sample=spec.sample, call_id=spec.call_id,
        participant_id=spec.participant_id, started_s=session.started_s, state=state, width_px=session.size_px[0],
        height_px=session.size_px[1], verdict=session.verdict, frames=session.frames,
    )
