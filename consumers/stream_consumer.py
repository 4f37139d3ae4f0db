"""Stream consumer: orders the records of one stream, feeds a worker, publishes its verdicts and tracks needed offsets.

One task handles a stream, step by step. Verdicts are written and acknowledged before their media is released and
before more records are processed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

import structlog

from consumers.dead_letters import Cause
from consumers.media_contract import ContentType, EndOfStream, Media
from consumers.offset_tracker import OffsetTracker, needed_from_s
from consumers.poison_pills import TRIES
from consumers.sequencing import RecordOrder, StreamSequence
from consumers.stream_outbox import Outbox, Rejection
from stream.codecs import VIDEO_CODECS
from stream.events import StreamEnded, Verdict
from stream.frame_sampler import phase_of
from stream.identity import StreamIdentity
from stream.stream_session import Session, StreamSpec
from stream.types import Codec, DropCause, EndReason, FrameCounts, MediaUnit, Observation
from stream.worker_messages import OpenStream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumers.broker import PartitionId, Record
    from consumers.consumer_context import ConsumerContext
    from consumers.verdict_records import State
    from stream.cusum import EvidenceModel
    from stream.events import Event
    from stream.incident_case import AlarmChange
    from stream.protocols import WorkerFeed
    from stream.types import ModelRef

log = structlog.get_logger(__name__)

_CODECS = {
    ContentType.JPEG: Codec.JPEG, ContentType.PNG: Codec.PNG, ContentType.MP4: Codec.SEGMENT,
    ContentType.MPEGTS: Codec.SEGMENT, ContentType.WEBM: Codec.SEGMENT,
    **{ContentType(row.content_type): row.codec for row in VIDEO_CODECS},
}
_STILLS = (Codec.JPEG, Codec.PNG)


class ParsedRecord(NamedTuple):
    """A record and its parsed content."""

    record: Record
    item: Media | EndOfStream

    @property
    def size(self) -> int:
        return len(self.item.payload) if isinstance(self.item, Media) else 0


class StreamConsumer:
    """Owns the session of the current epoch. `state` is the stream's last published state, None for a new stream.

    `last_record_s` is the time of its last record, by the idle clock of its partition.
    """

    def __init__(self, partition_id: PartitionId, stream: str, context: ConsumerContext, state: State | None) -> None:
        self.stream = stream
        self.state = state
        self.newest_offset = -1
        self.last_record_s = 0.0
        self.buffered_bytes = 0
        self._partition_id = partition_id
        self._context = context
        self._sequence = StreamSequence(_ended_epoch(state))
        self._inbox: deque[ParsedRecord] = deque()
        self._outbox = Outbox(partition_id, context)
        self._fed: deque[ParsedRecord] = deque()     # not decoded yet
        self._last_fed = -1
        self._last_refused = -2
        self._samples_examined = 0
        self._decoded_s = 0.0
        self._is_lost = False
        self._offsets = OffsetTracker()
        self._session: Session | None = None
        self._codec = Codec.JPEG
        self._ending: tuple[EndReason, str] | None = None
        self._worker_epoch = 0
        self._wake = asyncio.Event()

    @property
    def oldest_needed_offset(self) -> int | None:
        """The oldest offset that must be read again after a restart; None if there is none."""
        waiting = [self._inbox[0].record.offset] if self._inbox else []
        oldest = self._offsets.oldest
        return min(waiting if oldest is None else [*waiting, oldest], default=None)

    @property
    def buffered_records(self) -> int:
        return len(self._inbox)

    def put(self, parsed: ParsedRecord) -> None:
        """Queues the next record of the stream. Never blocks; the caller bounds the number of queued records."""
        self.newest_offset = parsed.record.offset
        self.buffered_bytes += parsed.size
        self._inbox.append(parsed)
        self._wake.set()

    def time_out(self) -> None:
        """Ends the session because no record came for too long. The epoch may still continue later."""
        if self._session is not None and not (self._inbox or self._fed):
            self._ending = EndReason.SILENT, ""
            self._wake.set()

    def abandon(self) -> None:
        """Abandons the session without publishing. The caller cancels the task."""
        if self._session is not None:
            self._session.abandon()

    async def run(self) -> None:
        """Runs until the stream ends and everything is published. Put the first record before the call.

        Raises the errors of `RetryingWriter.write`.
        """
        while self._inbox or self._session is not None:
            await self._wake.wait()
            self._wake.clear()
            await self._publish()
            self._limit_replay()
            if self._ending is not None:
                await self._end(*self._ending)
            await self._drain_inbox()

    # Input.

    async def _drain_inbox(self) -> None:
        while self._inbox and self._ending is None and self._has_room(self._inbox[0].record.offset):
            parsed = self._inbox[0]
            await self._take(parsed)
            self._inbox.popleft()
            self.buffered_bytes -= parsed.size

    def _has_room(self, offset: int) -> bool:
        """Returns whether the worker can take this record. A suspected poison pill is fed alone."""
        poison_pills = self._context.poison_pills
        if self._is_lost:
            return False
        if not any(poison_pills.is_suspect(self._partition_id, each) for each in (offset, self._last_fed)):
            return len(self._fed) < self._context.config.units_in_flight
        if self._fed or (self._session is not None and self._session.frames.sampled > self._samples_examined):
            return False
        poison_pills.clear(self._partition_id, self._last_fed)
        return True

    async def _take(self, parsed: ParsedRecord) -> None:
        item = parsed.item
        check = self._sequence.take(item.identity)
        if check.order in (RecordOrder.REPEAT, RecordOrder.STALE):
            return
        if check.order is RecordOrder.NEW_EPOCH and self._session is not None:
            await self._end(EndReason.PUBLISHER_LEFT, "a new epoch began")
        if isinstance(item, EndOfStream):
            await self._end(EndReason.END_OF_MEDIA, item.reason, item.identity.epoch)
            self._sequence.end()
            return
        if check.missing and self._session is not None:
            self._session.gap(DropCause.PACKET_LOSS)
        cause = self._rejection(parsed.record.offset, item) or self._feed(parsed, item)
        if cause is not None:
            await self._context.reject(parsed.record, cause)

    def _rejection(self, offset: int, media: Media) -> Cause | None:
        """Returns why a unit must not be fed to a worker, or None."""
        limit = self._context.config.unit_bytes
        if len(media.payload) > limit:
            return Cause("decode", "too_large", f"{len(media.payload)} bytes; the limit is {limit} bytes")
        if self._context.poison_pills.is_poison(self._partition_id, offset):
            return Cause("decode", "kills_worker", "worker processes crashed or hung on this record", TRIES)
        return None

    def _feed(self, parsed: ParsedRecord, media: Media) -> Cause | None:
        """Feeds a unit to the worker. Returns the cause if that is not possible."""
        codec = _CODECS[media.content_type]
        if self._session is None:
            self._open(media, codec)
        elif codec is not self._codec and not (codec in _STILLS and self._codec in _STILLS):
            return Cause("decode", "codec_changed", f"{codec} in an epoch of {self._codec}")
        self._last_fed = parsed.record.offset
        self._offsets.add(self._last_fed, media.pts_s, media.keyframe)
        self._fed.append(parsed)
        assert self._session is not None
        self._session.feed_unit(MediaUnit(
            stream=self.stream, epoch=self._worker_epoch, sequence=media.identity.sequence, codec=codec,
            payload=media.payload, pts_s=media.pts_s, capture_s=media.identity.capture_s, keyframe=media.keyframe,
            display=media.display,
        ))
        self._context.dead_letter_limit.add_good()
        return None

    def _open(self, media: Media, codec: Codec) -> None:
        epoch, streams = media.identity.epoch, self._context.config.streams
        self._worker_epoch = next(self._context.worker_epochs)
        self._samples_examined = 0
        self._decoded_s = 0.0
        self._codec = codec
        opened = OpenStream(
            stream=self.stream, epoch=self._worker_epoch, codec=codec, rate_hz=streams.windows.sample_rate_hz,
            phase=phase_of(self.stream, epoch), repeatable=True,
        )
        self._session = Session(
            StreamSpec(identity=StreamIdentity(self.stream), source="kafka", codec=codec), epoch, streams,
            host=self, control=self, attach=lambda sink: self._attach(opened, sink),
            resume_from=self.state if isinstance(self.state, Verdict) and self.state.epoch == epoch else None,
        )
        self._session.announce()

    def _attach(self, opened: OpenStream, session: Session) -> WorkerFeed:
        return self._context.pool.open(opened, _WorkerSink(self, session))

    async def _end(self, reason: EndReason, message: str, epoch: int | None = None) -> None:
        """Ends the session, if there is one, and publishes its last verdicts and its end."""
        session = self._session
        if session is not None:
            await session.end(reason, message)
            if self._is_lost:       # the session could not finish; this task is cancelled next
                await asyncio.get_running_loop().create_future()
            self._session = None
        elif epoch is not None:
            frames = FrameCounts()
            self.publish(
                StreamEnded(stream=self.stream, epoch=epoch, reason=reason, message=message, frames=frames)
            )
        await self._publish()
        self._ending = None
        self._fed.clear()
        self._offsets = OffsetTracker()

    # Output.

    async def _publish(self) -> None:
        """Publishes everything in the outbox, then releases the offsets that are no longer needed."""
        while self._outbox:
            state = await self._outbox.write()
            if state is not None:
                self._on_published(state)

    def _limit_replay(self) -> None:
        """Releases old media that yields no verdict, such as units without a key frame, after `replay_s` seconds."""
        session, from_s = self._session, self._decoded_s - self._context.config.replay_s
        if session is None or self._outbox or not self._offsets.can_release_before(from_s):
            return
        if session.frames.sampled == self._samples_examined:
            self._offsets.release_before(from_s)

    def _on_published(self, state: State) -> None:
        if isinstance(state, Verdict):
            self._offsets.release_before(needed_from_s(state.end_s, self._context.config.streams.windows))
        if isinstance(state, Verdict) or state.reason is not EndReason.SILENT:
            self.state = state

    # Worker callbacks.

    def observed(self) -> None:
        """Counts one more examined sample."""
        self._samples_examined += 1
        self._wake.set()

    def used(self, units: int, refused: Sequence[tuple[int, DropCause]]) -> None:
        """Removes the oldest units, now decoded. The first of consecutive refused units becomes a dead letter."""
        by_sequence = {parsed.item.identity.sequence: parsed for parsed in self._fed} if refused else {}
        for sequence, cause in refused:
            if sequence in by_sequence and sequence != self._last_refused + 1:
                failure = Cause("decode", cause.value, "the payload cannot be decoded")
                self._outbox.put(Rejection(by_sequence[sequence].record, failure))
            self._last_refused = sequence
        for _ in range(min(units, len(self._fed))):
            used = self._fed.popleft().item
            self._decoded_s = max(self._decoded_s, used.pts_s if isinstance(used, Media) else 0.0)
        self._wake.set()

    def crashed(self) -> None:
        """Marks the units that the worker held as suspects: one of them crashed it."""
        in_flight = [parsed.record.offset for parsed in self._fed] or [self._last_fed]
        self._context.poison_pills.crashed(self._partition_id, in_flight)

    def lost(self) -> None:
        """Abandons the session: the units that the worker held must be read again."""
        self._is_lost = True
        self.abandon()
        self._context.worker_lost.set()

    # Session host and source control.

    def publish(self, event: Event) -> None:
        if isinstance(event, Verdict | StreamEnded) and not self._is_lost:
            self._outbox.put(event)
            self._wake.set()

    def alarm(self, change: AlarmChange) -> None:
        if not self._is_lost:
            self._outbox.put(change)
            self._wake.set()

    def pictured(self, observation: Observation) -> None:
        """No-op: no dashboard watches a consumer, and alarms store their own evidence."""

    def model(self) -> ModelRef | None:
        return self._context.pool.status.model

    def evidence(self) -> EvidenceModel | None:
        return self._context.pool.status.evidence

    def ended(self, session: Session) -> None:
        """No-op: `_end` waits for the session."""

    def spawn(self, session: Session, reason: EndReason, message: str) -> None:
        self._ending = reason, message
        self._wake.set()

    def request_keyframe(self) -> None:
        """No-op: key frames cannot be requested from recorded media."""

    async def close(self) -> None:
        """No-op: Kafka producers have no back channel."""


class _WorkerSink:
    """Passes worker events to the session, and those that concern offsets to the stream consumer."""

    def __init__(self, consumer: StreamConsumer, session: Session) -> None:
        self._consumer = consumer
        self._session = session
        self.keyframe_needed = session.keyframe_needed
        self.failed = session.failed
        self.used = consumer.used
        self.crashed = consumer.crashed

    def observed(self, observation: Observation) -> None:
        self._session.observed(observation)
        self._consumer.observed()

    def gap(self, cause: DropCause) -> None:
        if cause is DropCause.WORKER_LOST:
            self._consumer.lost()
        else:
            self._session.gap(cause)


def _ended_epoch(state: State | None) -> int | None:
    """Returns the last epoch that is over. An epoch that ended for silence may continue, so it does not count."""
    if state is None:
        return None
    is_over = isinstance(state, StreamEnded) and state.reason is not EndReason.SILENT
    return state.epoch if is_over else state.epoch - 1
