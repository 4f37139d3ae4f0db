"""Thousands of verdicts to readers with dropped connections, slow readers, and a replaced service.

`DEEPGUARD_TEST_VERDICTS` is how many there are (100,000 take some minutes). Every reader must have been told every
change of what a stream's verdict says, once and in order; a verdict that says the same as the next one may be left out.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import defaultdict
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from api.clients.websocket import Disconnected, NewEvent, Snapshot, WatchOptions, watch
from stream.events import Label, Reason, Verdict
from tests.api.calls import said, started
from tests.api.clients.test_websocket import line_to
from tests.api.rig import running_rig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from api.clients.websocket import FeedPosition
    from stream.events import Event
    from tests.api.clients.test_websocket import Line
    from tests.api.rig import Rig

VERDICTS = int(os.environ.get("DEEPGUARD_TEST_VERDICTS", "6000"))
SERVICES, STREAMS, READERS = 3, 20, 6
AT_ONCE = 40
SLOW_S = {0: 0.002, 1: 0.004}
CUT_SHARE = 0.03        # of the chances that a reader's line has
SAYS = [(Label.REAL, Reason.EVIDENCE_REAL), (Label.FAKE, Reason.EVIDENCE_FAKE),
        (Label.UNCERTAIN, Reason.MONITORING), (Label.UNCERTAIN, Reason.SUSPECT)]

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120 + VERDICTS / 50)]


class Told:
    """What one service published: event number n has offset n + 1."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.feed: str = rig.call(lambda: rig.context.bus.feed)
        self.events: list[Event] = []
        self.by_stream: defaultdict[str, list[tuple[int, Verdict]]] = defaultdict(list)

    def publish(self, events: list[Event]) -> None:
        for event in events:
            self.events.append(event)
            if isinstance(event, Verdict):
                self.by_stream[event.stream].append((len(self.events), event))
        self.rig.call(lambda: [self.rig.context.bus.publish(event) for event in events])


@dataclass
class Reader:
    """One client and its verdicts with positions, in a new piece after each Snapshot."""

    pace_s: float
    pieces: list[list[tuple[FeedPosition, Verdict]]] = field(default_factory=list)
    place: FeedPosition | None = None
    cuts: int = 0
    known: int = 0

    async def read(self, url: str) -> None:
        async with aclosing(watch(url, WatchOptions())) as news:
            async for item in news:
                match item:
                    case Snapshot(events, place):
                        self.known += 1
                        self.place = place
                        self.pieces.append([(place, event) for event in events if isinstance(event, Verdict)])
                    case NewEvent(event, place):
                        self.place = place
                        if isinstance(event, Verdict):
                            self.pieces[-1].append((place, event))
                    case Disconnected():
                        self.cuts += 1
                if self.pace_s:
                    await asyncio.sleep(self.pace_s)


def says(verdict: Verdict) -> tuple[Label, Reason]:
    return verdict.label, verdict.reason


def check(reader: Reader, services: dict[str, Told]) -> None:
    """Nothing made up, doubled, out of order or, unless it is repeated by what follows, left out."""
    for piece in reader.pieces:
        seen: dict[str, int] = {}
        for place, verdict in piece:
            told = services[place.feed].by_stream[verdict.stream]
            index = next(n for n, (_, event) in enumerate(told) if event.sequence == verdict.sequence)
            assert told[index][1] == verdict
            before = seen.get(verdict.stream)
            if before is not None:
                assert index > before, f"{verdict.id} came twice or late"
                left_out = [event for _, event in told[before + 1 : index]]
                assert all(says(event) == says(verdict) for event in left_out), f"a change before {verdict.id} is lost"
            seen[verdict.stream] = index


def batch(draw: random.Random, next_sequence: defaultdict[str, int], current: dict[str, int]) -> list[Event]:
    events: list[Event] = []
    for _ in range(AT_ONCE):
        stream = f"s{draw.randrange(STREAMS)}"
        if draw.random() < 0.2:
            current[stream] = draw.randrange(len(SAYS))
        next_sequence[stream] += 1
        events.append(said(stream, next_sequence[stream], *SAYS[current.get(stream, 0)]))
    return events


@asynccontextmanager
async def lines_of(count: int) -> AsyncIterator[tuple[list[Line], list[str]]]:
    """That many lines to nowhere yet, and their URLs."""
    async with AsyncExitStack() as stack:
        made = [await stack.enter_async_context(line_to(0)) for _ in range(count)]
        yield [line for line, _ in made], [url for _, url in made]


async def until(condition: Callable[[], bool], reading: list[asyncio.Task[None]]) -> None:
    async with asyncio.timeout(60 + VERDICTS / 100):
        while not condition():
            assert not any(task.done() for task in reading)
            await asyncio.sleep(0.02)


async def play(told: Told, lines: list[Line], draw: random.Random, until_all: Callable[[int], Awaitable[None]]) -> None:
    """One service's share of the verdicts, with lines cut all the while."""
    next_sequence: defaultdict[str, int] = defaultdict(int)
    current: dict[str, int] = {}
    await asyncio.to_thread(told.publish, [started(f"s{n}") for n in range(STREAMS)])
    for _ in range(VERDICTS // SERVICES // AT_ONCE):
        await asyncio.to_thread(told.publish, batch(draw, next_sequence, current))
        for line in lines:
            if draw.random() < CUT_SHARE:
                line.cut()
        await asyncio.sleep(0.02)
    await until_all(len(told.events))


async def test_no_change_is_lost_doubled_or_out_of_order() -> None:
    draw = random.Random(11)
    readers = [Reader(SLOW_S.get(n, 0.0)) for n in range(READERS)]
    services: dict[str, Told] = {}
    async with asyncio.TaskGroup() as group, lines_of(READERS) as (lines, urls):
        reading = [group.create_task(reader.read(url)) for reader, url in zip(readers, urls, strict=True)]
        for _ in range(SERVICES):
            with running_rig() as rig:
                told = Told(rig)
                services[told.feed] = told
                for line in lines:
                    line.port = rig.port

                async def until_all(offset: int, feed: str = told.feed) -> None:
                    await until(lambda: all(r.place == (feed, offset) for r in readers), reading)

                await play(told, lines, draw, until_all)
        for task in reading:
            task.cancel()
    for reader in readers:
        check(reader, services)
    cuts, known = sum(reader.cuts for reader in readers), sum(reader.known for reader in readers)
    verdicts = sum(len(piece) for reader in readers for piece in reader.pieces)
    print(f"{VERDICTS} verdicts, {READERS} readers, {cuts} cuts, {known} snapshots, {verdicts} verdicts read")
    assert cuts > READERS * SERVICES
    assert known < cuts, "most came back without a snapshot"
