"""Stream service: admits, lists and stops live streams, judges files, and drains at shutdown."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, NamedTuple

import structlog

from stream.call_history import CallHistory
from stream.errors import ServiceDraining, ServiceFull, StreamExists
from stream.event_sink import DirectEventSink
from stream.file_verdict import FileRule, FileVerdict, JudgeOptions, judge_file
from stream.frame_sampler import Pace, phase_of, rate_hz_of
from stream.label_decision import AlarmPolicy, alarm_policy_of
from stream.load_controller import LoadController
from stream.session_table import ServiceSessionHost, SessionTable, StreamInfo
from stream.stream_session import Preview, Session, StreamSpec
from stream.types import EndReason, ModelRef
from stream.worker_messages import FileFrame, JobDone, OpenStream
from stream.worker_pool import FileRequest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from stream.config import StreamConfig
    from stream.cusum import EvidenceModel
    from stream.event_bus import EventBus
    from stream.event_sink import EventSink
    from stream.protocols import RemoteWorkers, SourceControl, WorkerFeed
    from stream.worker_pool import WorkerPool

log = structlog.get_logger(__name__)

_RETRY_AFTER_S = (5, 10)
_RETRY_STARTING_S = (1, 3)
_START_AT_ONCE, _START_SHARE = 8, 0.25
_START_THROTTLED = 2
_BALANCE_EVERY_S = 0.5


class ServiceStatus(NamedTuple):
    """`ready`: at least one worker is warm. `problem` says why there is no model, or is empty.

    `overloaded`: some stream is sampled less densely than configured, because its verdicts would come late.
    """

    ready: bool
    model: ModelRef | None
    problem: str
    streams: int
    workers_ready: int
    workers_wanted: int
    overloaded: bool = False


class StreamService:
    """All streams of this process. Used from one event loop."""

    def __init__(
        self, config: StreamConfig, pool: WorkerPool, bus: EventBus, remote: RemoteWorkers | None = None
    ) -> None:
        """Live streams go to `remote` workers, if given, else to the pool. Files always go to the pool."""
        self._config = config
        self._remote = remote
        self._pool = pool
        self._bus = bus
        self.records = CallHistory(config.windows.hop_s)
        bus.listen(lambda event: self.records.follow(event, time.monotonic()))
        self._sessions = SessionTable(config.ended_kept_s, config.max_streams)
        self._session_host = ServiceSessionHost(self._sessions, pool, self.records, DirectEventSink(bus), remote)
        self._jobs = 0
        self._balancing: asyncio.Task[None] | None = None
        self._load_controller = LoadController(config.load)
        self._draining = False

    @property
    def event_sink(self) -> EventSink:
        """Where events and alarms of the sessions go. The incident store replaces it before the first stream."""
        return self._session_host.event_sink

    @event_sink.setter
    def event_sink(self, event_sink: EventSink) -> None:
        self._session_host.event_sink = event_sink

    async def start(self) -> None:
        """Starts the workers; returns when the first is warm. Raises WorkerLost if none can be started."""
        await self._pool.start()
        self._balancing = asyncio.get_running_loop().create_task(self._balance(), name="load controller")

    async def close(self) -> None:
        """Ends every stream after its last verdict, then the workers. Idempotent."""
        self._draining = True
        async with asyncio.TaskGroup() as group:
            for session in self._sessions:
                group.create_task(self.stop(session.stream, EndReason.SHUTDOWN))
        await self._session_host.settle()
        if self._balancing is not None:
            self._balancing.cancel()
            await asyncio.gather(self._balancing, return_exceptions=True)
        await self.event_sink.settle()
        self._bus.close()
        await self._pool.close()

    @property
    def status(self) -> ServiceStatus:
        pool = self._pool.status
        return ServiceStatus(
            ready=pool.ready > 0 and not self._draining,
            model=pool.model,
            problem=pool.problem,
            streams=len(self._sessions),
            workers_ready=pool.ready,
            workers_wanted=pool.wanted,
            overloaded=self._load_controller.reduced or self._load_controller.full,
        )

    def open(self, spec: StreamSpec, control: SourceControl) -> Session:
        """Admits and starts a stream. Raises StreamExists, ServiceFull, ServiceDraining, WorkerLost."""
        self._check_place(spec.stream)
        epoch = self._sessions.next_epoch(spec.stream)
        request = OpenStream(
            stream=spec.stream, epoch=epoch, codec=spec.codec, rate_hz=self._config.windows.sample_rate_hz,
            phase=phase_of(spec.stream, epoch),
        )

        def attach(sink: Session) -> WorkerFeed:
            return (self._remote or self._pool).open(request, sink)

        session = Session(spec, epoch, self._config, host=self._session_host, control=control, attach=attach)
        self._sessions.add(session)
        session.announce()
        log.info("stream started", stream=spec.stream, epoch=epoch, source=spec.source, codec=spec.codec.value)
        return session

    def list(self) -> tuple[StreamInfo, ...]:
        """Returns running streams in the order they started, then those that ended recently."""
        return self._sessions.list()

    def get(self, stream: str) -> StreamInfo:
        """Returns the state of a running or recently ended stream. Raises StreamUnknown."""
        return self._sessions.get(stream)

    def preview(self, stream: str) -> Preview | None:
        """Returns a stream's newest sampled frame, if there is one. Raises StreamUnknown."""
        return self._sessions.preview(stream)

    async def stop(self, stream: str, reason: EndReason = EndReason.STOPPED) -> None:
        """Hangs up the source and ends the stream. Raises StreamUnknown."""
        session = self._sessions.live(stream)
        await session.hang_up()
        await session.end(reason)

    async def judge(
        self, path: Path, options: JudgeOptions, progress: Callable[[int, int], None] | None = None
    ) -> FileVerdict:
        """Judges one file in a worker and calls `progress(done, planned)` per scored frame.

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

    def policy(self) -> AlarmPolicy | None:
        """Returns the alarm rule for the operator's budget and the loaded model; None without a measured model."""
        evidence = self.evidence()
        if evidence is None:
            return None
        base_hz = self._config.windows.sample_rate_hz
        return alarm_policy_of(self._config.decision, (rate_hz_of(Pace.FAST, base_hz), base_hz), evidence)

    def evidence(self) -> EvidenceModel | None:
        return self._pool.status.evidence

    async def _balance(self) -> None:
        """Adapts the sampling density of all streams to what the workers can examine."""
        while True:
            await asyncio.sleep(_BALANCE_EVERY_S)
            now_s = time.monotonic()
            paces = self._load_controller.plan([session.load(now_s) for session in self._sessions], now_s)
            for session in self._sessions:
                session.watch(now_s)
            for stream, pace in paces.items():
                self._sessions.live(stream).set_pace(pace)

    def check_admission(self, stream: str, arriving: int = 0) -> None:
        """Checks that a source may start whose stream opens later. Raises StreamExists, ServiceFull, ServiceDraining.

        Admits few streams at once, so that their cost is known before the next ones start; `arriving` counts the
        admitted sources whose stream is not open yet.
        """
        self._check_place(stream, arriving)
        if self._load_controller.full:
            raise ServiceFull("verdicts are late although all streams are sampled at the lowest rate", _retry_after_s())
        now_s = time.monotonic()
        starting = arriving + sum(session.is_starting(now_s) for session in self._sessions)
        usual = max(_START_AT_ONCE, _START_SHARE * len(self._sessions))
        at_once = _START_THROTTLED if self._load_controller.throttled else usual
        if starting >= at_once:
            raise ServiceFull(f"{starting} streams are starting", _retry_after_s(_RETRY_STARTING_S))

    def _check_place(self, stream: str, arriving: int = 0) -> None:
        if self._draining:
            raise ServiceDraining("the service is shutting down")
        if stream in self._sessions:
            raise StreamExists(f"stream {stream!r} is running")
        if len(self._sessions) + arriving >= self._config.max_streams:
            raise ServiceFull(f"{len(self._sessions)} streams are running, which is the limit", _retry_after_s())


def _retry_after_s(between: tuple[int, int] = _RETRY_AFTER_S) -> int:
    """Returns random seconds, so that clients refused together do not retry together."""
    return random.randint(*between)
