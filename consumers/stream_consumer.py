"""One stream of a partition: records in by their order, units to a worker, verdicts out, and what that leaves needed.

Everything about one stream happens in one task, one thing after the other: what is out is written, acknowledged and
only then let go of, before more is taken in.
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
from consumers.sequencing import StreamSequence, Turn
from consumers.stream_outbox import Outbox, Refusal
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


class Arrival(NamedTuple):
    """A record and what it says."""

    record: Record
    item: Media | EndOfStream

    @property
    def size(self) -> int:
        return len(self.item.payload) if isinstance(self.item, Media) else 0


class StreamConsumer:
    """Owns the session of the epoch at hand. `state` is where another process left the stream, if one did.

    `heard_s` is when its last record came, by the clock of its partition.
    """

    def __init__(self, place: PartitionId, stream: str, desk: ConsumerContext, state: State | None) -> None:
        self.stream = stream
        self.state = state
        self.newest_offset = -1
        self.heard_s = 0.0
        self.held_bytes = 0
        self._place = place
        self._desk = desk
        self._order = StreamSequence(_ended_epoch(state))
        self._inbox: deque[Arrival] = deque()
        self._outbox = Outbox(place, desk)
        self._fed: deque[Arrival] = deque()     # what is not decoded yet
        self._last_fed = -1
        self._last_refused = -2
        self._observed = 0
        self._used_s = 0.0
        self._is_lost = False
        self._starts = OffsetTracker()
        self._session: Session | None = None
        self._codec = Codec.JPEG
        self._ending: tuple[EndReason, str] | None = None
        self._handle = 0
        self._wake = asyncio.Event()

    @property
    def hold(self) -> int | None:
        """The oldest offset that is still needed; None if nothing is."""
        waiting = [self._inbox[0].record.offset] if self._inbox else []
        oldest = self._starts.oldest
        return min(waiting if oldest is None else [*waiting, oldest], default=None)

    @property
    def held_records(self) -> int:
        return len(self._inbox)

    def put(self, arrival: Arrival) -> None:
        """Takes the next record of the stream; never blocks. The caller limits how many records are held."""
        self.newest_offset = arrival.record.offset
        self.held_bytes += arrival.size
        self._inbox.append(arrival)
        self._wake.set()

    def time_out(self) -> None:
        """Nothing has come for too long: ends what there is, without excluding that it goes on."""
        if self._session is not None and not (self._inbox or self._fed):
            self._ending = EndReason.SILENT, ""
            self._wake.set()

    def abandon(self) -> None:
        """Lets go of the stream without another word; its task is to be cancelled."""
        if self._session is not None:
            self._session.abandon()

    async def run(self) -> None:
        """Until the stream is over and nothing is left to be done. Raises what `Outgoing.write` does.

        The first record is to be put before.
        """
        while self._inbox or self._session is not None:
            await self._wake.wait()
            self._wake.clear()
            await self._publish()
            self._limit_replay()
            if self._ending is not None:
                await self._end(*self._ending)
            await self._take_in()

    # Records in.

    async def _take_in(self) -> None:
        while self._inbox and self._ending is None and self._has_room(self._inbox[0].record.offset):
            arrival = self._inbox[0]
            await self._take(arrival)
            self._inbox.popleft()
            self.held_bytes -= arrival.size

    def _has_room(self, offset: int) -> bool:
        """Whether this record can go in; one that may crash the worker only when nothing else is there."""
        suspects = self._desk.suspects
        if self._is_lost:
            return False
        if not (suspects.is_suspect(self._place, offset) or suspects.is_suspect(self._place, self._last_fed)):
            return len(self._fed) < self._desk.config.in_hand
        if self._fed or (self._session is not None and self._session.frames.sampled > self._observed):
            return False
        suspects.clear(self._place, self._last_fed)
        return True

    async def _take(self, arrival: Arrival) -> None:
        item = arrival.item
        step = self._order.take(item.stamp)
        if step.turn in (Turn.REPEAT, Turn.STALE):
            return
        if step.turn is Turn.NEW_EPOCH and self._session is not None:
            await self._end(EndReason.PUBLISHER_LEFT, "a new epoch began")
        if isinstance(item, EndOfStream):
            await self._end(EndReason.END_OF_MEDIA, item.reason, item.stamp.epoch)
            self._order.end()
            return
        if step.missing and self._session is not None:
            self._session.gap(DropCause.PACKET_LOSS)
        problem = self._problem(arrival.record.offset, item) or self._feed(arrival, item)
        if problem is not None:
            await self._desk.refuse(arrival.record, problem)

    def _problem(self, offset: int, media: Media) -> Cause | None:
        """Why a unit is not given to a worker, if so."""
        limit = self._desk.config.unit_bytes
        if len(media.payload) > limit:
            return Cause("decode", "too_large", f"{len(media.payload)} bytes; at most {limit} are taken")
        if self._desk.suspects.is_condemned(self._place, offset):
            return Cause("decode", "kills_worker", "worker processes crashed or hung on it", TRIES)
        return None

    def _feed(self, arrival: Arrival, media: Media) -> Cause | None:
        """Hands a unit to the worker. Why it cannot be, if so."""
        codec = _CODECS[media.content_type]
        if self._session is None:
            self._open(media, codec)
        elif codec is not self._codec and not (codec in _STILLS and self._codec in _STILLS):
            return Cause("decode", "codec_changed", f"{codec} in an epoch of {self._codec}")
        self._last_fed = arrival.record.offset
        self._starts.took(self._last_fed, media.pts_s, media.keyframe)
        self._fed.append(arrival)
        assert self._session is not None
        self._session.feed_unit(MediaUnit(
            stream=self.stream, epoch=self._handle, sequence=media.stamp.sequence, codec=codec, payload=media.payload,
            pts_s=media.pts_s, capture_s=media.stamp.capture_s, keyframe=media.keyframe,
            display=media.display,
        ))
        self._desk.limit.good()
        return None

    def _open(self, media: Media, codec: Codec) -> None:
        epoch, streams = media.stamp.epoch, self._desk.config.streams
        self._handle = next(self._desk.handles)
        self._observed = 0
        self._used_s = 0.0
        self._codec = codec
        opened = OpenStream(
            stream=self.stream, epoch=self._handle, codec=codec, rate_hz=streams.windows.sample_rate_hz,
            phase=phase_of(self.stream, epoch), repeatable=True,
        )
        self._session = Session(
            StreamSpec(identity=StreamIdentity(self.stream), source="kafka", codec=codec), epoch, streams,
            host=self, control=self, attach=lambda sink: self._attach(opened, sink),
            resume_from=self.state if isinstance(self.state, Verdict) and self.state.epoch == epoch else None,
        )
        self._session.announce()

    def _attach(self, opened: OpenStream, session: Session) -> WorkerFeed:
        return self._desk.pool.open(opened, _Tap(self, session))

    async def _end(self, reason: EndReason, message: str, epoch: int | None = None) -> None:
        """Flushes the session, if there is one, and has its last verdicts and its end out."""
        session = self._session
        if session is not None:
            await session.end(reason, message)
            if self._is_lost:       # it never got that far; our task is cancelled in a moment
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
        self._starts = OffsetTracker()

    # Verdicts out.

    async def _publish(self) -> None:
        """Everything that waits; then what is not needed any more is let go of."""
        while self._outbox:
            reached = await self._outbox.write()
            if reached is not None:
                self._reached(reached)

    def _limit_replay(self) -> None:
        """Media that shows nothing, such as units without a key frame, leads to no verdict: it is not held for ever."""
        session, from_s = self._session, self._used_s - self._desk.config.replay_s
        if session is None or self._outbox or not self._starts.has_before(from_s):
            return
        if session.frames.sampled == self._observed:
            self._starts.needs(from_s)

    def _reached(self, state: State) -> None:
        if isinstance(state, Verdict):
            self._starts.needs(needed_from_s(state.end_s, self._desk.config.streams.windows))
        if isinstance(state, Verdict) or state.reason is not EndReason.SILENT:
            self.state = state

    # What the worker tells.

    def observed(self) -> None:
        """One more sample was examined."""
        self._observed += 1
        self._wake.set()

    def used(self, units: int, refused: Sequence[tuple[int, DropCause]]) -> None:
        """So many of the oldest units are through the decoder. Of a row of refused ones the first goes to the dead
        letters."""
        by_sequence = {arrival.item.stamp.sequence: arrival for arrival in self._fed} if refused else {}
        for sequence, cause in refused:
            if sequence in by_sequence and sequence != self._last_refused + 1:
                told = Cause("decode", cause.value, "the payload cannot be decoded")
                self._outbox.put(Refusal(by_sequence[sequence].record, told))
            self._last_refused = sequence
        for _ in range(min(units, len(self._fed))):
            used = self._fed.popleft().item
            self._used_s = max(self._used_s, used.pts_s if isinstance(used, Media) else 0.0)
        self._wake.set()

    def crashed(self) -> None:
        """The worker crashed on something of this stream that is in its hands."""
        in_hand = [arrival.record.offset for arrival in self._fed] or [self._last_fed]
        self._desk.suspects.crashed(self._place, in_hand)

    def lost(self) -> None:
        """What was in the worker's hands has to be read again; until then there is nothing to be done."""
        self._is_lost = True
        self.abandon()
        self._desk.worker_lost.set()

    # What the session needs of its surroundings, and of its source.

    def publish(self, event: Event) -> None:
        if isinstance(event, Verdict | StreamEnded) and not self._is_lost:
            self._outbox.put(event)
            self._wake.set()

    def alarm(self, change: AlarmChange) -> None:
        if not self._is_lost:
            self._outbox.put(change)
            self._wake.set()

    def pictured(self, observation: Observation) -> None:
        """Nobody looks at a call here; alarms have their own evidence."""

    def model(self) -> ModelRef | None:
        return self._desk.pool.status.model

    def evidence(self) -> EvidenceModel | None:
        return self._desk.pool.status.evidence

    def ended(self, session: Session) -> None:
        """`_end` waits for it."""

    def spawn(self, session: Session, reason: EndReason, message: str) -> None:
        self._ending = reason, message
        self._wake.set()

    def request_keyframe(self) -> None:
        """Nobody could be asked: the records are what they are."""

    async def close(self) -> None:
        """The producer does not know us."""


class _Tap:
    """Tells the run what its session has no use for."""

    def __init__(self, run: StreamConsumer, session: Session) -> None:
        self._run = run
        self._session = session
        self.keyframe_needed = session.keyframe_needed
        self.failed = session.failed
        self.used = run.used
        self.crashed = run.crashed

    def observed(self, observation: Observation) -> None:
        self._session.observed(observation)
        self._run.observed()

    def gap(self, cause: DropCause) -> None:
        if cause is DropCause.WORKER_LOST:
            self._run.lost()
        else:
            self._session.gap(cause)


def _ended_epoch(state: State | None) -> int | None:
    """The last epoch that is over for good; one that only fell silent may go on."""
    if state is None:
        return None
    is_over = isinstance(state, StreamEnded) and state.reason is not EndReason.SILENT
    return state.epoch if is_over else state.epoch - 1
