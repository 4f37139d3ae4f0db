"""Worker slot: one place in the pool, with its worker process, replacements, streams and file jobs."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Protocol

import structlog

from stream.crash_marker import stream_name
from stream.errors import ChannelBroken, MediaRefused, WorkerLost
from stream.retry_policy import RetryPolicy
from stream.worker_messages import (
    CancelJob,
    Consumed,
    FileFrame,
    Hello,
    JobDone,
    JobFailed,
    KeyframeNeeded,
    Observed,
    RunJob,
    StreamClosed,
    StreamFailed,
)
from stream.worker_process import RestartDelays, WorkerProcess

if TYPE_CHECKING:
    from stream.worker_messages import FromWorker, ToWorker
    from stream.worker_pool_config import FileRequest, PoolConfig
    from stream.worker_stream import WorkerStream

_log = structlog.get_logger(__name__)
_Key = tuple[str, int]


class WorkerSlotOwner(Protocol):
    """Receives reports on a slot's worker. Called in the event loop; must not block."""

    def on_warm(self, slot: WorkerSlot) -> None: ...

    def on_lost(self, streams: tuple[WorkerStream, ...], culprit: str) -> None:
        """Reports a lost worker. Its `streams` are detached; `culprit` names what it crashed on, or is ""."""
        ...

    def on_capacity_free(self) -> None: ...


class JobRun:
    """One file in one worker. The number of requested samples bounds its queue."""

    def __init__(self, slot: WorkerSlot, request: FileRequest) -> None:
        self.name = uuid.uuid4().hex
        self._slot = slot
        self._messages: asyncio.Queue[FileFrame | JobDone | JobFailed | None] = asyncio.Queue()
        self._is_over = False
        slot.send(
            RunJob(
                job=self.name,
                path=str(request.path),
                max_samples=request.max_samples,
                rate_hz=request.rate_hz,
                heat_maps=request.heat_maps,
            )
        )

    def put(self, message: FileFrame | JobDone | JobFailed | None) -> None:
        """Queues a message; None means that the worker has ended."""
        self._is_over = self._is_over or not isinstance(message, FileFrame)
        self._messages.put_nowait(message)

    async def next(self) -> FileFrame | JobDone:
        """Returns the next message. Raises MediaRefused, WorkerLost."""
        message = await self._messages.get()
        if message is None:
            raise WorkerLost("the worker ended while it judged the file")
        if isinstance(message, JobFailed):
            raise MediaRefused(message.code, message.message, message.status)
        return message

    def end(self) -> None:
        """Cancels the job if it is still running, and releases its place."""
        if not self._is_over:
            self._slot.send(CancelJob(job=self.name))
        self._slot.forget_job(self.name)


class WorkerSlot:
    """Keeps one worker running. `supervise` replaces dead workers until cancelled; `has_ended` reports its end."""

    def __init__(self, config: PoolConfig, owner: WorkerSlotOwner) -> None:
        self._config = config
        self._owner = owner
        self._process: WorkerProcess | None = None
        self._streams: dict[_Key, WorkerStream] = {}
        self._jobs: dict[str, JobRun] = {}
        self._warm_since_s: float | None = None
        self.restarts = 0
        self._is_stopping = False
        self._reason = ""
        self.has_ended = False

    @property
    def hello(self) -> Hello | None:
        """Hello of the warm worker; None if there is none."""
        return self._process.hello if self._process is not None else None

    @property
    def load(self) -> tuple[int, int]:
        return len(self._streams), len(self._jobs)

    @property
    def streams(self) -> tuple[WorkerStream, ...]:
        return tuple(self._streams.values())

    @property
    def has_capacity(self) -> bool:
        return self.hello is not None and len(self._jobs) < self._config.jobs_per_worker

    def send(self, message: ToWorker) -> None:
        if self._process is not None:
            self._process.send(message)

    def add(self, stream: WorkerStream) -> None:
        self._streams[stream.key] = stream
        stream.attach(self)

    def remove(self, key: _Key) -> None:
        self._streams.pop(key, None)

    def run(self, request: FileRequest) -> JobRun:
        job = JobRun(self, request)
        self._jobs[job.name] = job
        return job

    def forget_job(self, name: str) -> None:
        if self._jobs.pop(name, None) is not None:
            self._owner.on_capacity_free()

    async def supervise(self) -> None:
        """Starts, serves and replaces workers until `stop`."""
        delays = RestartDelays(RetryPolicy.exponential(1.0, self._config.longest_backoff_s))
        while not self._is_stopping:
            warm_for_s = await self._run_worker()
            if self._is_stopping:
                return
            _log.warning("worker lost", reason=self._reason, warm_for_s=warm_for_s)
            self.restarts += 1
            await asyncio.sleep(delays.after(warm_for_s))

    async def stop(self) -> None:
        self._is_stopping = True
        if self._process is not None:
            await self._process.stop()

    async def _run_worker(self) -> float | None:
        """Runs one worker from start to end. Returns how many seconds it was warm, None if it never was."""
        self._warm_since_s = None
        try:
            self._process = process = await WorkerProcess.spawn(self._config)
            self._reason = await process.serve(self._handle)
        except (OSError, ChannelBroken) as error:
            self._reason = str(error)
        finally:
            self._report_loss()
        began_s = self._warm_since_s
        return None if began_s is None else asyncio.get_running_loop().time() - began_s

    def _report_loss(self) -> None:
        process, self._process = self._process, None
        culprit = process.culprit if process is not None else ""
        self.has_ended = True
        streams, self._streams = tuple(self._streams.values()), {}
        for job in self._jobs.values():
            job.put(None)
        for stream in streams:
            stream.detach(stream_name(*stream.key) == culprit)
        self._owner.on_lost(tuple(stream for stream in streams if not stream.is_over), culprit)

    def _handle(self, message: FromWorker) -> None:
        try:
            self._dispatch(message)
        except Exception:       # noqa: BLE001  outermost frame: one stream's sink must not end the others' worker
            _log.exception("message of a worker could not be handled", kind=type(message).__name__)

    def _dispatch(self, message: FromWorker) -> None:
        match message:
            case Hello():
                self._warm_since_s = asyncio.get_running_loop().time()
                self._owner.on_warm(self)
            case FileFrame() | JobDone() | JobFailed():
                job = self._jobs.get(message.job)
                if job is not None:
                    job.put(message)
            case Observed(observation=observation):
                stream = self._streams.get((observation.stream, observation.epoch))
                if stream is not None:
                    stream.on_observed(observation)
            case Consumed() | KeyframeNeeded() | StreamFailed() | StreamClosed():
                stream = self._streams.get((message.stream, message.epoch))
                if stream is not None:
                    stream.on_message(message)
