"""Fake workers that act on the payload instead of decoding it: fast, with scripted crashes and errors."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from stream.frame_sampler import Sampler, SamplingGrid
from stream.types import DropCause, FrameCounts, ModelRef, Observation
from stream.worker_pool_config import PoolStatus
from tests.stream.observations import EVIDENCE, face

if TYPE_CHECKING:
    from stream.protocols import StreamSink
    from stream.types import MediaUnit
    from stream.worker_messages import OpenStream

CRASH, BAD = b"crash", b"bad"
CLOSING_S = 0.01


class PayloadFeed:
    """Feed of one stream; processes one unit per iteration of the event loop."""

    def __init__(self, opened: OpenStream, sink: StreamSink, workers: PayloadWorkers) -> None:
        self.opened = opened
        self.sink = sink
        self._workers = workers
        self._sampler = Sampler(SamplingGrid(opened.rate_hz, opened.phase))
        self._units: list[MediaUnit] = []
        self._seen: Counter[str] = Counter()
        self._scheduled: asyncio.Handle | None = None
        self._done = asyncio.Event()

    @property
    def counts(self) -> FrameCounts:
        return FrameCounts(received=self._seen["units"], sampled=self._seen["sampled"])

    @property
    def waiting(self) -> int:
        return len(self._units)

    def feed(self, unit: MediaUnit) -> None:
        self._units.append(unit)
        self._seen["units"] += 1
        self._workers.most_waiting = max(self._workers.most_waiting, len(self._units))
        self._schedule()

    def set_pace(self, pace: int) -> None:
        self._sampler.pace = pace

    def abandon(self) -> None:
        self._workers.feeds.discard(self)
        self._units.clear()
        self._done.set()

    async def close(self) -> FrameCounts:
        await asyncio.sleep(CLOSING_S)
        while self._units and not self._done.is_set():
            await asyncio.sleep(0)
        self.abandon()
        return self.counts

    def _schedule(self) -> None:
        if self._scheduled is None and self._units and not self._workers.are_stuck:
            self._scheduled = asyncio.get_running_loop().call_soon(self._work)

    def _work(self) -> None:
        self._scheduled = None
        if not self._units:
            return
        unit = self._units[0]
        if unit.payload == CRASH:
            self._workers.crash(self)
            return
        self._units.pop(0)
        if unit.payload == BAD:
            self.sink.used(1, ((unit.sequence, DropCause.DECODE_ERROR),))
        else:
            self._examine(unit)
        self._schedule()

    def _examine(self, unit: MediaUnit) -> None:
        cell = self._sampler.take(unit.pts_s)
        self._seen["sampled"] += cell is not None
        self.sink.used(1, ())
        if cell is not None:
            seen = face(llr=(unit.sequence % 7 - 1) / 3)
            self.sink.observed(Observation(
                stream=self.opened.stream, epoch=self.opened.epoch, sequence=unit.sequence, cell=cell, frame_number=0,
                pts_s=unit.pts_s, capture_s=unit.capture_s, width_px=64, height_px=64, faces=(seen,),
            ))

    def resume(self) -> None:
        self._schedule()


class PayloadWorkers:
    """A `stream.protocols.Workers`. While `are_stuck`, nothing is processed."""

    def __init__(self) -> None:
        self.feeds: set[PayloadFeed] = set()
        self.crashes = 0
        self.opened = 0
        self.most_waiting = 0
        self.are_stuck = False

    @property
    def status(self) -> PoolStatus:
        model = ModelRef(name="payload", version="1", sha256="0" * 64)
        return PoolStatus(ready=1, wanted=1, model=model, evidence=EVIDENCE, problem="", restarts=0, pids=())

    def open(self, spec: OpenStream, sink: StreamSink) -> PayloadFeed:
        feed = PayloadFeed(spec, sink, self)
        self.feeds.add(feed)
        self.opened += 1
        return feed

    def crash(self, culprit: PayloadFeed | None) -> None:
        """Simulates the death of all workers and notifies every stream."""
        self.crashes += 1
        for feed in tuple(self.feeds):
            if feed is culprit:
                feed.sink.crashed()
            feed.sink.gap(DropCause.WORKER_LOST)

    def unstick(self) -> None:
        self.are_stuck = False
        for feed in tuple(self.feeds):
            feed.resume()
