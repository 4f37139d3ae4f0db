"""Edge publisher: writes the media of live calls to a topic, for remote consumers (`serve --detect kafka`).

Replaces the worker pool behind a session. Each stream has a bounded queue. When it is full, because the broker is slow
or unreachable, units are dropped up to the next key frame, and a key frame is requested. Consumers see the gap in the
sequence and count it as lost coverage.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, deque
from fractions import Fraction
from typing import TYPE_CHECKING

import structlog

from consumers.broker import Message
from consumers.errors import BrokerRefused, BrokerUnreachable, RecordTooLarge
from consumers.media_contract import ContentType, EndOfStream, Media, RecordIdentity, encode
from consumers.retrying_writer import RetryingWriter
from stream.codecs import VIDEO_CODECS
from stream.events import StreamEnded, StreamStarted, Verdict
from stream.retry_policy import RetryPolicy
from stream.types import Codec, DropCause, FrameCounts

if TYPE_CHECKING:
    from consumers.broker import Broker, Writer
    from consumers.media_contract import Item
    from stream.events import Event
    from stream.protocols import StreamSink
    from stream.types import MediaUnit
    from stream.worker_messages import OpenStream

log = structlog.get_logger(__name__)

QUEUE_UNITS = 256
QUEUE_BYTES = 8 * 2**20
KEYFRAME_EVERY_S = 4.0      # a new consumer starts at a key frame; browsers send few unless asked

_CLOSE_S = 5.0
_LONGEST_BACKOFF_S = 5.0
_CONNECT_POLICY = RetryPolicy((1.0,))
_TIMEBASE = Fraction(1, 90_000)
_CONTENT = {
    Codec.JPEG: ContentType.JPEG, Codec.PNG: ContentType.PNG,
    **{row.codec: ContentType(row.content_type) for row in VIDEO_CODECS},
}


class Edge:
    """A `stream.protocols.RemoteWorkers`. Connects when the first stream opens; close it after all have ended.

    Publishes no verdicts of its own, because its sessions see no frames. With `has_gateway`, starts and ends come from
    the consumers as well.
    """

    def __init__(self, broker: Broker, topic: str, has_gateway: bool = False) -> None:
        self.topic = topic
        self._unpublished = (Verdict, StreamStarted, StreamEnded) if has_gateway else (Verdict,)
        self._broker = broker
        self._connecting = asyncio.Lock()
        self._writer: Writer | None = None
        self._retrying_writer: RetryingWriter | None = None

    def open(self, spec: OpenStream, sink: StreamSink) -> EdgeFeed:
        return EdgeFeed(spec, sink, self)

    def publishes_here(self, event: Event) -> bool:
        return not isinstance(event, self._unpublished)

    async def write(self, item: Item) -> None:
        """Writes an item; retries until the broker acknowledges it. Raises RecordTooLarge, BrokerRefused."""
        record = encode(item, "/ingest/deepguard")
        writer = await self._connect()
        await writer.write(Message(self.topic, record.key, record.value, record.headers))

    async def close(self) -> None:
        if self._writer is not None:
            with contextlib.suppress(BrokerUnreachable):
                await self._writer.close()

    async def _connect(self) -> RetryingWriter:
        async with self._connecting:
            while self._retrying_writer is None:
                try:
                    self._writer = await self._broker.writer()
                    self._retrying_writer = RetryingWriter(self._writer, _LONGEST_BACKOFF_S)
                except BrokerUnreachable as error:
                    log.warning("broker unreachable", error=str(error))
                    await asyncio.sleep(_CONNECT_POLICY.delay_s())
        return self._retrying_writer


class EdgeFeed:
    """A `stream.protocols.WorkerFeed` that writes to a topic.

    It decodes nothing, so only `received` and `dropped` of its counts are above 0, and no unit is ever overdue.
    """

    waiting = 0

    def __init__(self, opened: OpenStream, sink: StreamSink, edge: Edge) -> None:
        self._opened = opened
        self._sink = sink
        self._edge = edge
        self._queue: deque[MediaUnit] = deque()
        self._queue_bytes = 0
        self._received = 0
        self._dropped: Counter[str] = Counter()
        self._is_skipping = False
        self._keyframe_s = time.monotonic()
        self._next_sequence = 0
        self._is_closing = False
        self._wake = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"edge {opened.stream}")

    @property
    def counts(self) -> FrameCounts:
        return FrameCounts(received=self._received, dropped=dict(self._dropped))

    def feed(self, unit: MediaUnit) -> None:
        if self._is_closing:
            return
        self._received += 1
        self._next_sequence = unit.sequence + 1
        self._is_skipping = self._is_skipping and not unit.keyframe
        if self._is_skipping or self._is_full(unit):
            self._is_skipping = True
            self._drop(DropCause.QUEUE_FULL)
            return
        self._queue.append(unit)
        self._queue_bytes += len(unit.payload)
        self._wake.set()
        self._request_keyframe_if_due(unit)

    def set_pace(self, pace: int) -> None:
        """No-op: the consumers choose the pace."""

    def abandon(self) -> None:
        self._is_closing = True
        self._task.cancel()

    async def close(self) -> FrameCounts:
        """Writes the queued units and the end of stream; drops what is not written within 5 s."""
        self._is_closing = True
        self._wake.set()
        await asyncio.wait([self._task], timeout=_CLOSE_S)
        if not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])
            self._dropped[DropCause.QUEUE_FULL] += len(self._queue)
            self._queue.clear()
        return self.counts

    async def _run(self) -> None:
        try:
            while self._queue or not self._is_closing:
                while self._queue:
                    await self._send(self._queue[0])
                    self._queue_bytes -= len(self._queue.popleft().payload)
                self._wake.clear()
                if not self._is_closing:
                    await self._wake.wait()
            await self._edge.write(EndOfStream(self._identity(self._next_sequence, time.time())))
        except BrokerRefused as error:
            self._sink.failed(DropCause.WORKER_LOST, str(error))

    async def _send(self, unit: MediaUnit) -> None:
        identity = self._identity(unit.sequence, unit.capture_s)
        pts = max(0, round(unit.pts_s / _TIMEBASE))
        try:
            await self._edge.write(
                Media(identity, _CONTENT[unit.codec], pts, _TIMEBASE, unit.payload, unit.keyframe, unit.display)
            )
        except RecordTooLarge:
            self._drop(DropCause.TOO_LARGE)

    def _identity(self, sequence: int, capture_s: float) -> RecordIdentity:
        return RecordIdentity(self._opened.stream, self._opened.epoch, sequence, capture_s)

    def _is_full(self, unit: MediaUnit) -> bool:
        return len(self._queue) >= QUEUE_UNITS or self._queue_bytes + len(unit.payload) > QUEUE_BYTES

    def _drop(self, cause: DropCause) -> None:
        self._dropped[cause] += 1
        if time.monotonic() - self._keyframe_s >= 1.0:
            self._request_keyframe()

    def _request_keyframe_if_due(self, unit: MediaUnit) -> None:
        if unit.keyframe:
            self._keyframe_s = time.monotonic()
        elif time.monotonic() - self._keyframe_s >= KEYFRAME_EVERY_S:
            self._request_keyframe()

    def _request_keyframe(self) -> None:
        self._keyframe_s = time.monotonic()
        self._sink.keyframe_needed()
