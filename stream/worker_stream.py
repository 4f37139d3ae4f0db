"""Worker stream: the pool's queue for one stream, with overflow policy, credits and consistent counts.

The queue holds encoded units. It overflows when it is full, or when its oldest unit has waited too long for a running
worker. Then everything before the newest key frame is dropped. Without a key frame, everything up to the next one is
dropped, and one is requested. Stills are independent, so only the oldest is dropped.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec
import structlog

from stream.types import Codec, DropCause, FrameCounts
from stream.worker_messages import CloseStream, Consumed, FeedUnit, KeyframeNeeded, SetPace, StreamClosed, StreamFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream.protocols import StreamSink
    from stream.types import MediaUnit, Observation
    from stream.worker_messages import OpenStream, ToWorker
    from stream.worker_pool_config import PoolConfig

_log = structlog.get_logger(__name__)


class WorkerLink(Protocol):
    """A live worker, as seen by a stream."""

    def send(self, message: ToWorker) -> None:
        """Never blocks; does nothing once the worker has ended."""
        ...


class _Waiting(NamedTuple):
    """A unit in the queue; `since_s` is monotonic."""

    unit: MediaUnit
    since_s: float


class WorkerStream:
    """One stream in the pool. If its worker dies, the pool attaches it to another one.

    Requests a key frame from its sink at most once per second.
    """

    def __init__(
        self, opened: OpenStream, sink: StreamSink, config: PoolConfig, release: Callable[[WorkerStream], None]
    ) -> None:
        self._opened = opened
        self._sink = sink
        self._config = config
        self._release = release
        self._link: WorkerLink | None = None
        self._queue: deque[_Waiting] = deque()
        self._queue_bytes = 0
        self._attached_s = 0.0
        self._in_flight: deque[int] = deque()       # bytes of each unit that the worker holds
        self._flight_bytes = 0
        self._skips_to_keyframe: DropCause | None = None
        self._keyframe_asked_s = float("-inf")
        self._is_closing = self._close_sent = False
        self._over = asyncio.Event()
        self._received = 0
        self._dropped: Counter[str] = Counter()
        self._past = FrameCounts()
        self._current = FrameCounts()
        self._next_track = 0
        self._last_cell: int | None = None
        self._crashed_s: list[float] = []
        self._hand_over: Callable[[], None] | None = None
        self._hand_over_from: int | None = None

    @property
    def key(self) -> tuple[str, int]:
        return self._opened.stream, self._opened.epoch

    @property
    def is_over(self) -> bool:
        return self._over.is_set()

    @property
    def counts(self) -> FrameCounts:
        """Cumulative counts over all workers that held this stream, and over drops before that."""
        dropped = Counter(self._dropped)
        dropped.update(self._past.dropped)
        dropped.update(self._current.dropped)
        return FrameCounts(
            received=self._received,
            decoded=self._past.decoded + self._current.decoded,
            sampled=self._past.sampled + self._current.sampled,
            scored=self._past.scored + self._current.scored,
            dropped=dict(dropped),
        )

    @property
    def waiting(self) -> int:
        """Number of units in the queue and in the worker."""
        return len(self._queue) + len(self._in_flight)

    def feed(self, unit: MediaUnit) -> None:
        """Queues one unit. Never blocks; drops and counts what does not fit. Does nothing after `close`."""
        if self.is_over or self._is_closing:
            return
        self._received += 1
        if len(unit.payload) > self._config.limits.unit_bytes:
            self._drop(DropCause.TOO_LARGE)
            self._skip_to_keyframe(DropCause.NO_KEYFRAME)
            return
        if self._skips_to_keyframe is not None and not self._is_independent(unit):
            self._drop(self._skips_to_keyframe)
            self._request_keyframe()
            return
        self._skips_to_keyframe = None
        if self._is_full(unit):
            self._overflow(unit)
        if self._skips_to_keyframe is None:
            if self._hand_over is not None and self._hand_over_from is None and self._is_independent(unit):
                self._hand_over_from = unit.sequence
            self._queue.append(_Waiting(unit, _now_s()))
            self._queue_bytes += len(unit.payload)
            self._pump()

    def set_pace(self, pace: int) -> None:
        """Sets the sampling density in this worker and its replacements."""
        if pace == self._opened.pace or self.is_over:
            return
        self._opened = msgspec.structs.replace(self._opened, pace=pace)
        if self._link is not None:
            self._link.send(SetPace(stream=self._opened.stream, epoch=self._opened.epoch, pace=pace))

    async def close(self) -> FrameCounts:
        """Lets the worker finish, and returns the final counts; takes at most `close_limit_s`. Idempotent."""
        self._is_closing = True
        if self._link is None:
            self._end()
        self._pump()
        try:
            async with asyncio.timeout(self._config.close_limit_s):
                await self._over.wait()
        except TimeoutError:
            _log.warning("stream close timed out", stream=self._opened.stream, waiting=len(self._queue))
            self._drop(DropCause.QUEUE_FULL, len(self._queue) + len(self._in_flight))
            self._empty()
            self._send_close()
            self._end()
        return self.counts

    def abandon(self) -> None:
        """Ends at once: discards unexamined units and reports nothing more."""
        self._is_closing = True
        self._empty()
        self._send_close()
        self._end()

    # Calls from the pool.

    def attach(self, link: WorkerLink) -> None:
        """Continues in this worker."""
        self._link = link
        self._attached_s = _now_s()
        self._close_sent = False
        link.send(
            msgspec.structs.replace(
                self._opened,
                first_track=self._next_track,
                first_frame=self._past.decoded,
                after_cell=self._last_cell,
            )
        )
        self._pump()

    def hand_over(self, move: Callable[[], None]) -> None:
        """Leaves this worker at the next key frame without loss; `move` then attaches to another one.

        Faces get new track ids there, so a repeatable stream is not handed over.
        """
        if self._hand_over is None and not self._is_closing and not self._opened.repeatable:
            self._hand_over = move
            self._request_keyframe()

    def detach(self, is_culprit: bool = False) -> None:
        """Counts the units in the dead worker as lost. `is_culprit` says that it crashed on this stream."""
        self._leave_worker()
        self._drop(DropCause.WORKER_LOST, len(self._in_flight))
        self._in_flight.clear()
        self._flight_bytes = 0
        if self.is_over:
            return
        if is_culprit:
            self._sink.crashed()
        self._sink.gap(DropCause.WORKER_LOST)
        if self._is_closing:
            self._end()
        else:
            self._request_keyframe(always=True)

    def may_continue_after_crash(self) -> bool:
        """Counts one worker crash on this stream; returns False when there were too many."""
        now_s = _now_s()
        self._crashed_s = [at_s for at_s in self._crashed_s if now_s - at_s < self._config.crash_memory_s] + [now_s]
        if len(self._crashed_s) < self._config.max_crashes:
            return True
        self.fail(DropCause.DECODE_ERROR, "the decoder crashed on this stream again and again")
        return False

    def on_observed(self, observation: Observation) -> None:
        self._last_cell = observation.cell
        self._next_track = max([self._next_track, *(face.track + 1 for face in observation.faces)])
        if not self.is_over:
            self._sink.observed(observation)

    def on_message(self, message: Consumed | KeyframeNeeded | StreamFailed | StreamClosed) -> None:
        match message:
            case Consumed():
                self._current = message.counts
                self._take_credits(message.units)
                self._sink.used(message.units, message.refused)
            case KeyframeNeeded():
                self._request_keyframe()
            case StreamFailed():
                self.fail(message.cause, message.message)
            case StreamClosed():
                self._current = message.counts
                self._in_flight.clear()
                self._flight_bytes = 0
                if self._is_closing and not self._queue:
                    self._end()
                else:
                    self._finish_handover()

    def fail(self, cause: DropCause, message: str) -> None:
        """Ends the stream from the pool's side."""
        if not self.is_over:
            self._end()
            self._sink.failed(cause, message)

    def _end(self) -> None:
        if not self.is_over:
            self._over.set()
            self._drop(DropCause.WORKER_LOST, len(self._queue))
            self._empty()
            self._release(self)

    def _empty(self) -> None:
        self._queue.clear()
        self._queue_bytes = 0

    def _finish_handover(self) -> None:
        """Moves the stream after the worker has released it for a handover."""
        move = self._hand_over
        self._leave_worker()
        if move is None:
            self.fail(DropCause.WORKER_LOST, "the worker closed the stream unasked")
        else:
            move()

    def _leave_worker(self) -> None:
        self._link = self._hand_over = self._hand_over_from = None
        self._past = msgspec.structs.replace(self.counts, dropped=_sum(self._past.dropped, self._current.dropped))
        self._current = FrameCounts()

    def _take_credits(self, units: int) -> None:
        for _ in range(min(units, len(self._in_flight))):
            self._flight_bytes -= self._in_flight.popleft()
        self._pump()

    def _pump(self) -> None:
        """Sends as many units as the credits allow. A unit larger than all credits is sent alone."""
        if self._link is None:
            return
        while self._queue and len(self._in_flight) < self._config.unit_credits:
            if self._hand_over_from is not None and self._queue[0].unit.sequence >= self._hand_over_from:
                self._send_close()
                return
            size = len(self._queue[0].unit.payload)
            if self._in_flight and self._flight_bytes + size > self._config.flight_bytes:
                break
            unit, since_s = self._queue.popleft()
            self._queue_bytes -= size
            self._in_flight.append(size)
            self._flight_bytes += size
            waited_s = 0.0 if self._config.unit_wait_s is None else _now_s() - since_s
            self._link.send(FeedUnit(unit=unit, waited_s=waited_s))
        if self._is_closing and not self._queue:
            self._send_close()

    def _send_close(self) -> None:
        if self._link is not None and not self._close_sent:
            self._close_sent = True
            self._link.send(CloseStream(stream=self._opened.stream, epoch=self._opened.epoch))

    def _is_full(self, unit: MediaUnit) -> bool:
        too_many = len(self._queue) >= self._config.unit_queue
        too_large = self._queue_bytes + len(unit.payload) > self._config.unit_queue_bytes
        return too_many or too_large or self._waits_too_long

    @property
    def _waits_too_long(self) -> bool:
        """Whether the oldest unit has waited too long. Time in which a worker starts does not count."""
        limit_s = self._config.unit_wait_s
        if limit_s is None or self._link is None or not self._queue:
            return False
        return _now_s() - max(self._queue[0].since_s, self._attached_s) > limit_s

    def _overflow(self, unit: MediaUnit) -> None:
        """Makes room for `unit`, or starts to skip to the next key frame."""
        if self._is_still:
            while self._queue and self._is_full(unit):
                self._forget(1)
            return
        starts = [at for at, waiting in enumerate(self._queue) if waiting.unit.keyframe]
        self._forget(starts[-1] if starts and not unit.keyframe else len(self._queue))
        if self._is_full(unit) or not (self._queue or unit.keyframe):
            self._forget(len(self._queue))
            self._drop(DropCause.QUEUE_FULL)
            self._skip_to_keyframe(DropCause.QUEUE_FULL)
        self._sink.gap(DropCause.QUEUE_FULL)

    def _forget(self, units: int) -> None:
        for _ in range(units):
            self._queue_bytes -= len(self._queue.popleft().unit.payload)
        self._drop(DropCause.QUEUE_FULL, units)

    def _skip_to_keyframe(self, cause: DropCause) -> None:
        if not self._is_still:
            self._skips_to_keyframe = cause
            self._request_keyframe()

    def _drop(self, cause: DropCause, units: int = 1) -> None:
        if units:
            self._dropped[cause] += units

    def _request_keyframe(self, always: bool = False) -> None:
        now_s = _now_s()
        if always or now_s - self._keyframe_asked_s >= self._config.keyframe_every_s:
            self._keyframe_asked_s = now_s
            self._sink.keyframe_needed()

    def _is_independent(self, unit: MediaUnit) -> bool:
        return unit.keyframe or self._is_still

    @property
    def _is_still(self) -> bool:
        return self._opened.codec in (Codec.JPEG, Codec.PNG)


def _now_s() -> float:
    return asyncio.get_running_loop().time()


def _sum(first: dict[str, int], second: dict[str, int]) -> dict[str, int]:
    return dict(Counter(first) + Counter(second))
