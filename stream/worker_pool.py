"""Worker pool: starts, supervises and replaces worker processes, and assigns streams and files to them."""

from __future__ import annotations

import asyncio
import os
from functools import partial
from typing import TYPE_CHECKING

from stream.crash_marker import stream_name
from stream.errors import MediaRefused, StreamExists, WorkerLost
from stream.types import DropCause
from stream.worker_messages import FileFrame, JobDone
from stream.worker_pool_config import FileRequest, PoolConfig, PoolStatus
from stream.worker_slot import WorkerSlot
from stream.worker_stream import WorkerStream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from stream.protocols import StreamSink
    from stream.worker_messages import OpenStream
    from stream.worker_slot import JobRun

__all__ = ["FileRequest", "PoolConfig", "PoolStatus", "WorkerPool", "WorkerStream"]

_FILE_TRIES = 2


class WorkerPool:
    """Owns the worker processes. Runs in one event loop and never blocks it."""

    def __init__(self, config: PoolConfig) -> None:
        self._config = config
        count = config.workers or len(os.sched_getaffinity(0))
        self._slots = [WorkerSlot(config, self) for _ in range(count)]
        self._streams: dict[tuple[str, int], WorkerStream] = {}
        self._homeless: list[WorkerStream] = []
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._is_closed = False

    async def start(self) -> None:
        """Starts the workers; returns when the first is warm. Raises WorkerLost if all of them fail."""
        self._task = asyncio.create_task(self._supervise_slots(), name="worker pool")
        while not self.status.ready:
            if all(slot.has_ended for slot in self._slots):
                await self.close()
                raise WorkerLost("no worker process could start")
            await self._changed.wait()

    async def close(self) -> None:
        """Ends all workers. Streams that are still open fail. Idempotent."""
        if self._is_closed or self._task is None:
            return
        self._is_closed = True
        for stream in list(self._streams.values()):
            stream.fail(DropCause.WORKER_LOST, "the worker pool was closed")
        await asyncio.gather(*(slot.stop() for slot in self._slots))
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._announce()

    @property
    def status(self) -> PoolStatus:
        hellos = [slot.hello for slot in self._slots if slot.hello is not None]
        problem = next((hello.problem for hello in hellos if hello.problem), "")
        return PoolStatus(
            ready=len(hellos),
            wanted=len(self._slots),
            model=next((hello.model for hello in hellos if hello.model is not None), None),
            evidence=next((hello.evidence for hello in hellos if hello.evidence is not None), None),
            problem=problem if hellos else "no worker is ready",
            restarts=sum(slot.restarts for slot in self._slots),
            pids=tuple(hello.pid for hello in hellos),
        )

    def open(self, spec: OpenStream, sink: StreamSink) -> WorkerStream:
        """Opens a stream on the worker with the fewest, or queues it until one is warm. Raises StreamExists,
        WorkerLost."""
        if self._is_closed:
            raise WorkerLost("the worker pool is closed")
        stream = WorkerStream(spec, sink, self._config, self._release)
        if stream.key in self._streams:
            raise StreamExists(f"stream {spec.stream} is open in epoch {spec.epoch}")
        self._streams[stream.key] = stream
        self._place(stream)
        return stream

    async def run_file(self, request: FileRequest) -> AsyncIterator[FileFrame | JobDone]:
        """Yields the scored frames of one file, then a JobDone. Closing the iterator cancels the job.

        If the worker dies, the file is tried once more in another one. Raises MediaRefused, WorkerLost.
        """
        delivered = 0
        tried: WorkerSlot | None = None
        for _ in range(_FILE_TRIES):
            tried = await self._slot_with_capacity(avoid=tried)
            job = tried.run(request)
            try:
                async for message in _messages(job):
                    if isinstance(message, JobDone) or message.done > delivered:
                        yield message
                    delivered = max(delivered, message.done) if isinstance(message, FileFrame) else delivered
                return
            except WorkerLost:
                continue
            finally:
                job.end()
        raise MediaRefused("decoder_crashed", "the decoder crashed on this file")

    # Calls from the slots.

    def on_warm(self, slot: WorkerSlot) -> None:
        homeless, self._homeless = self._homeless, []
        for stream in homeless:
            slot.add(stream)
        self._spread()
        self._announce()

    def on_lost(self, streams: tuple[WorkerStream, ...], culprit: str) -> None:
        """Moves the streams to a live worker at once, except the culprit, which could kill that worker too."""
        for stream in streams:
            if stream_name(*stream.key) != culprit:
                self._place(stream)
            elif stream.may_continue_after_crash():
                self._homeless.append(stream)
        self._announce()

    def on_capacity_free(self) -> None:
        self._announce()

    async def _supervise_slots(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for slot in self._slots:
                tasks.create_task(slot.supervise())

    def _place(self, stream: WorkerStream) -> None:
        warm = [slot for slot in self._slots if slot.hello is not None]
        if warm:
            min(warm, key=lambda slot: slot.load).add(stream)
        else:
            self._homeless.append(stream)

    def _spread(self) -> None:
        """Has the fullest workers hand streams over at their next key frames, until all hold about the same number."""
        warm = [slot for slot in self._slots if slot.hello is not None]
        fair = -(-sum(slot.load[0] for slot in warm) // len(warm))
        for slot in warm:
            for stream in slot.streams[fair:]:
                stream.hand_over(partial(self._move, slot, stream))

    def _move(self, slot: WorkerSlot, stream: WorkerStream) -> None:
        slot.remove(stream.key)
        self._place(stream)

    def _release(self, stream: WorkerStream) -> None:
        self._streams.pop(stream.key, None)
        for slot in self._slots:
            slot.remove(stream.key)
        if stream in self._homeless:
            self._homeless.remove(stream)

    async def _slot_with_capacity(self, avoid: WorkerSlot | None) -> WorkerSlot:
        """Returns the least busy warm worker that can take a file. Raises WorkerLost if there is none for too long."""
        while not self._is_closed:
            places = [slot for slot in self._slots if slot.has_capacity]
            if places:
                return min(places, key=lambda slot: (slot is avoid, slot.load[::-1]))
            limit_s = None if self.status.ready else self._config.start_limit_s
            try:
                async with asyncio.timeout(limit_s):
                    await self._changed.wait()
            except TimeoutError:
                break
        raise WorkerLost("no worker is ready")

    def _announce(self) -> None:
        """Wakes all tasks that wait for a change of the pool."""
        self._changed.set()
        self._changed = asyncio.Event()


async def _messages(job: JobRun) -> AsyncIterator[FileFrame | JobDone]:
    while True:
        message = await job.next()
        yield message
        if isinstance(message, JobDone):
            return
