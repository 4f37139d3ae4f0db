"""Publishes a file or a live source to a topic, in the media contract. One record at a time, so that order holds."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from consumers.broker import Message
from consumers.errors import BrokerUnreachable
from consumers.media_contract import EndOfStream, Media, Stamp, encode
from consumers.segmenter import TIMEBASE, pieces
from stream.retry_policy import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from consumers.broker import Writer
    from consumers.media_contract import Item
    from consumers.segmenter import Cut, MediaPiece

_WRITE_POLICY = RetryPolicy.exponential(0.25, 5.0)


@dataclass(frozen=True, slots=True)
class Publication:
    """One stream: where from, where to, how. `is_paced` keeps to media time, `is_looped` starts again at the end with
    media time going on; `stop` ends it early."""

    source: str
    topic: str
    stream: str
    cut: Cut
    is_paced: bool = False
    is_looped: bool = False
    stop: asyncio.Event = field(default_factory=asyncio.Event)


class Progress(NamedTuple):
    """What was taken by the broker so far; `media_s` is media time. `away` is why it takes nothing at the moment."""

    records: int
    payload_bytes: int
    media_s: float
    away: str = ""


async def produce(writer: Writer, publication: Publication, tell: Callable[[Progress], None]) -> Progress:
    """Publishes to the end of the source, or until `stop`; then says so in the stream.

    While the broker is away it waits for it. Raises SourceUnreadable, RecordTooLarge, BrokerRefused; BrokerUnreachable
    if it is stopped while the broker is away.
    """
    sender = _Sender(writer, publication, tell)
    reason = "failed"
    try:
        async with contextlib.aclosing(_all_pieces(publication)) as found:
            async for piece in found:
                if not await sender.send_in_time(piece):
                    break
        reason = "stopped" if publication.stop.is_set() else "end_of_media"
    finally:
        with contextlib.suppress(BrokerUnreachable):
            await sender.end(reason)
    return sender.progress


class _Sender:
    """Numbers, times and writes the records of one epoch."""

    def __init__(self, writer: Writer, publication: Publication, tell: Callable[[Progress], None]) -> None:
        self.progress = Progress(0, 0, 0.0)
        self._writer = writer
        self._publication = publication
        self._tell = tell
        self._epoch = int(time.time() * 1000)
        self._sequence = 0
        self._start_s = time.monotonic()

    async def send_in_time(self, piece: MediaPiece) -> bool:
        """False if it was stopped before this piece was due."""
        media_s = float(piece.ticks * TIMEBASE)
        if await self._is_stopped_until(self._start_s + media_s if self._publication.is_paced else 0.0):
            return False
        item = Media(
            self._stamp(), piece.content_type, piece.ticks, TIMEBASE, piece.payload, piece.keyframe, piece.display
        )
        await self._write(item)
        records, payload_bytes, *_ = self.progress
        end_s = media_s + float(piece.duration * TIMEBASE)
        self._say(Progress(records + 1, payload_bytes + len(piece.payload), end_s))
        return True

    async def end(self, reason: str) -> None:
        await self._writer.write(self._message(EndOfStream(self._stamp(), reason)))

    async def _write(self, item: Item) -> None:
        """Writes until the broker acknowledges; consumers drop duplicates."""
        failures = 0
        while True:
            try:
                await self._writer.write(self._message(item))
            except BrokerUnreachable as error:
                self._say(self.progress._replace(away=str(error)))
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

    def _say(self, progress: Progress) -> None:
        self.progress = progress
        self._tell(progress)

    def _stamp(self) -> Stamp:
        return Stamp(self._publication.stream, self._epoch, self._sequence, time.time())

    def _message(self, item: Item) -> Message:
        record = encode(item, f"/ingest/{self._publication.stream}")
        return Message(self._publication.topic, record.key, record.value, record.headers)


async def _all_pieces(publication: Publication) -> AsyncGenerator[MediaPiece]:
    offset = 0
    while True:
        end = offset
        source = pieces(publication.source, publication.cut)
        try:
            while (piece := await asyncio.to_thread(next, source, None)) is not None:
                end = max(end, offset + piece.ticks + piece.duration)
                yield piece._replace(ticks=offset + piece.ticks)
        finally:
            with contextlib.suppress(ValueError):   # cancelled, and the thread is still reading
                source.close()
        if not publication.is_looped or end == offset:
            return
        offset = end
