"""Verdict recorder: subscribes to the WebSocket like any client and records the arrival time of each verdict."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import defaultdict
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from api.bench.options import FRAME_RATE_HZ, RATE_HZ
from api.errors import BenchFailed
from api.routes.events_websocket import PROTOCOL
from stream import event_encoding
from stream.events import StreamEnded, Verdict
from stream.frame_sampler import Pace, SamplingGrid, phase_of, wanted_at_or_before

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from websockets.asyncio.client import ClientConnection

    from stream.types import FrameCounts


class VerdictArrival(NamedTuple):
    """A received verdict. `at_s` is monotonic seconds.

    `newest_frame` is the number (from 0) of the newest frame that the verdict covers, or None if unknown.
    """

    at_s: float
    stream: str
    age_ms: float
    newest_frame: int | None
    frames: FrameCounts


def newest_frame(verdict: Verdict) -> int | None:
    """Computes the newest frame of a verdict's window: the sampling grid of a stream follows from its name.

    Returns None if the window lacks a sample or the sampling rate is not the base rate.
    """
    if verdict.samples != verdict.wanted or verdict.rate_hz != RATE_HZ:
        return None
    grid = SamplingGrid(RATE_HZ, phase_of(verdict.stream, verdict.epoch))
    cell = wanted_at_or_before(grid.cell_at(verdict.end_s), Pace.BASE)
    if grid.start_s(cell) >= verdict.end_s:
        cell -= Pace.BASE
    return math.ceil(round(grid.start_s(cell) * FRAME_RATE_HZ, 6))


class _Message(msgspec.Struct):
    """The part of a message that identifies its type."""

    type: str
    event: msgspec.Raw = msgspec.Raw()


_decoder = msgspec.json.Decoder(_Message)


class VerdictRecorder:
    """The verdicts received so far. Grows with the length of the benchmark."""

    def __init__(self) -> None:
        self.arrivals: list[VerdictArrival] = []
        self.streams: defaultdict[str, list[VerdictArrival]] = defaultdict(list)
        self.ended: set[str] = set()

    async def read(self, connection: ClientConnection) -> None:
        """Records messages until cancelled. Raises BenchFailed when the connection closes."""
        try:
            async for text in connection:
                self.take(text, time.monotonic())
        except ConnectionClosed as error:
            raise BenchFailed(f"the WebSocket was closed: {error}") from error
        raise BenchFailed("the WebSocket was closed")

    def take(self, text: str | bytes, at_s: float) -> None:
        message = _decoder.decode(text)
        if message.type != "event":
            return
        event = event_encoding.decode(bytes(message.event))
        if isinstance(event, Verdict):
            arrival = VerdictArrival(at_s, event.stream, event.age_ms, newest_frame(event), event.frames)
            self.arrivals.append(arrival)
            self.streams[event.stream].append(arrival)
        elif isinstance(event, StreamEnded):
            self.ended.add(event.stream)


@asynccontextmanager
async def watching(url: str) -> AsyncIterator[VerdictRecorder]:
    """Records verdicts for the block. Raises BenchFailed at its end if the connection was lost."""
    async with connect(url, subprotocols=[PROTOCOL], max_size=2**22, compression=None, proxy=None) as connection:     # type: ignore[list-item]
        await connection.send('{"type":"subscribe","stream":"*"}')
        watch = VerdictRecorder()
        reading = asyncio.create_task(watch.read(connection))
        try:
            yield watch
        finally:
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading
