"""Producer: publishes a file or live source to a media topic, one record at a time to keep the order."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from consumers.broker import Message
from consumers.errors import BrokerUnreachable
from consumers.media_contract import EndOfStream, Media, RecordIdentity, encode
from consumers.segmenter import TIMEBASE, media_pieces
from stream.retry_policy import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from consumers.broker import Writer
    from consumers.media_contract import Item
    from consumers.segmenter import MediaPiece, SegmenterOptions

_WRITE_POLICY = RetryPolicy.exponential(0.25, 5.0)


@dataclass(frozen=True, slots=True)
class Publication:
    """Source, topic and options of one stream.

    `is_paced` publishes in real time. `is_looped` restarts the source at its end, with continuous media time. `stop`
    ends the stream early.
    """

    source: str
    topic: str
    stream: str
    options: SegmenterOptions
    is_paced: bool = False
    is_looped: bool = False
    stop: asyncio.Event = field(default_factory=asyncio.Event)


class Progress(NamedTuple):
    """What the broker has acknowledged. `media_s` is media time; `problem` says why the broker takes nothing now."""

    records: int
    payload_bytes: int
    media_s: float
    problem: str = ""


async def produce(writer: Writer, publication: Publication, report: Callable[[Progress], None]) -> Progress:
    """Publishes until the end of the source or until `stop`, then writes the end of stream.

    Waits while the broker is unreachable. Raises SourceUnreadable, RecordTooLarge, BrokerRefused, and BrokerUnreachable
    if it is stopped while the broker is unreachable.
    """
    sender = _Sender(writer, publication, report)
    reason = "failed"
    try:
        async with contextlib.aclosing(_all_pieces(publication)) as found:
            async for piece in found:
                if not await sender.send_when_due(piece):
                    break
        reason = "stopped" if publication.stop.is_set() else "end_of_media"
    finally:
        with contextlib.suppress(BrokerUnreachable):
            await sender.end(reason)
    return sender.progress


class _Sender:
    """Numbers, times and writes the records of one epoch."""

    def __init__(self, writer: Writer, publication: Publication, report: Callable[[Progress], None]) -> None:
        self.progress = Progress(0, 0, 0.0)
        self._writer = writer
        self._publication = publication
        self._on_progress = report
        self._epoch = int(time.time() * 1000)
        self._sequence = 0
        self._start_s = time.monotonic()

    async def send_when_due(self, piece: MediaPiece) -> bool:
        """Writes a piece when it is due. Returns False if `stop` comes first."""
        media_s = float(piece.ticks * TIMEBASE)
        if await self._is_stopped_until(self._start_s + media_s if self._publication.is_paced else 0.0):
            return False
        item = Media(
            self._identity(), piece.content_type, piece.ticks, TIMEBASE, piece.payload, piece.keyframe, piece.display
        )
        await self._write(item)
        records, payload_bytes, *_ = self.progress
        end_s = media_s + float(piece.duration * TIMEBASE)
        self._report(Progress(records + 1, payload_bytes + len(piece.payload), end_s))
        return True

    async def end(self, reason: str) -> None:
        await self._writer.write(self._message(EndOfStream(self._identity(), reason)))

    async def _write(self, item: Item) -> None:
        """Writes until the broker acknowledges; consumers drop duplicates."""
        failures = 0
        while True:
            try:
                await self._writer.write(self._message(item))
            except BrokerUnreachable as error:
                self._report(self.progress._replace(problem=str(error)))
                failures += 1
                if await self._is_stopped_until(time.monotonic() + _WRITE_POLICY.delay_s(failures)):
                    raise
            else:
                self._sequence += 1
                return

    async def _is_stopped_until(self, monotonic_s: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, monotonic_s - time.monotonic())):
                await self._publication.stop.wait()
        return self._publication.stop.is_set()

    def _report(self, progress: Progress) -> None:
        self.progress = progress
        self._on_progress(progress)

    def _identity(self) -> RecordIdentity:
        return RecordIdentity(self._publication.stream, self._epoch, self._sequence, time.time())

    def _message(self, item: Item) -> Message:
        record = encode(item, f"/ingest/{self._publication.stream}")
        return Message(self._publication.topic, record.key, record.value, record.headers)


async def _all_pieces(publication: Publication) -> AsyncGenerator[MediaPiece]:
    offset = 0
    while True:
        end = offset
        source = media_pieces(publication.source, publication.options)
        try:
            while (piece := await asyncio.to_thread(next, source, None)) is not None:
                end = max(end, offset + piece.ticks + piece.duration)
                yield piece._replace(ticks=offset + piece.ticks)
        finally:
            with contextlib.suppress(ValueError):   # cancelled while the thread still reads
                source.close()
        if not publication.is_looped or end == offset:
            return
        offset = end
