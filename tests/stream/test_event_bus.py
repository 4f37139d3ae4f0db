from __future__ import annotations

import asyncio

import msgspec
import pytest

from stream.config import StreamConfig
from stream.errors import BusClosed, SubscriberTooSlow
from stream.event_bus import QUEUE_EVENTS, EventBus, Selection, Subscription
from stream.events import Event, Label, StreamEnded, StreamGap, StreamStarted, Verdict
from stream.rolling_verdicts import RollingVerdicts
from stream.types import EndReason, FrameCounts
from tests.stream.observations import face, moment, observation

ALL = Selection()


def started(stream: str = "a", call_id: str = "") -> StreamStarted:
    return StreamStarted(stream=stream, epoch=1, source="whip", started_s=0.0, call_id=call_id)


def with_label(label: Label) -> Verdict:
    return msgspec.structs.replace(verdicts(8)[0], label=label)


def ended(stream: str = "a") -> StreamEnded:
    return StreamEnded(stream=stream, epoch=1, reason=EndReason.STOPPED, message="", frames=FrameCounts())


def gap(n: int, stream: str = "a") -> StreamGap:
    return StreamGap(stream=stream, epoch=1, cause="decode_error", from_s=float(n))


def verdicts(count: int, llr: float = 0.0) -> list[Verdict]:
    monitor = RollingVerdicts("a", 1, 0.3, StreamConfig())      # all of stream "a"
    return [v for c in range(count) for v in monitor.observe(observation(c, (face(llr=llr),)), moment())]


async def read_to_end(reader: Subscription) -> list[Event]:
    got: list[Event] = []
    try:
        while True:
            got.append((await reader.next()).event)
    except BusClosed:
        return got


async def test_events_arrive_in_order_with_growing_offsets() -> None:
    bus = EventBus()
    reader = bus.subscribe(ALL)
    for n in range(3):
        bus.publish(gap(n))
    got = [await reader.next() for _ in range(3)]
    assert [e.offset for e in got] == [1, 2, 3]
    assert [e.event for e in got] == [gap(n) for n in range(3)]


async def test_a_selection_by_call_gets_only_that_call() -> None:
    bus = EventBus()
    reader = bus.subscribe(Selection(calls=frozenset({"room"})))
    bus.publish(started("other"))
    bus.publish(gap(1, "other"))
    bus.publish(started("late", call_id="room"))
    bus.publish(gap(2, "late"))
    bus.publish(ended("late"))
    bus.publish(gap(3, "late"))
    bus.close()
    assert await read_to_end(reader) == [started("late", call_id="room"), gap(2, "late"), ended("late")]
    assert bus.snapshot(reader.selection) == ()


async def test_a_selection_by_label_also_gets_the_next_label_and_all_other_events() -> None:
    bus = EventBus()
    reader = bus.subscribe(Selection(labels=frozenset({Label.FAKE})))
    fake, real = (with_label(label) for label in (Label.FAKE, Label.REAL))
    for event in (started(), real, gap(1), fake, fake, real, real, fake):
        bus.publish(event)
    assert [e.event for e in bus.snapshot(reader.selection)] == [started(), fake]
    bus.publish(real)
    bus.publish(real)
    assert [e.event for e in bus.snapshot(reader.selection)] == [started()]
    bus.close()
    assert await read_to_end(reader) == [started(), gap(1), fake, fake, real, fake, real]


async def test_a_selection_by_stream_gets_only_those_streams() -> None:
    bus = EventBus()
    reader = bus.subscribe(Selection(frozenset({"b"})))
    bus.publish(gap(1, "a"))
    bus.publish(gap(2, "b"))
    assert (await reader.next()).event == gap(2, "b")


async def test_a_waiting_reader_is_woken() -> None:
    bus = EventBus()
    reader = bus.subscribe(ALL)
    waiting = asyncio.create_task(reader.next())
    await asyncio.sleep(0)
    bus.publish(gap(1))
    assert (await asyncio.wait_for(waiting, 10)).offset == 1


async def test_resuming_returns_missed_events_or_reports_that_they_are_gone() -> None:
    bus = EventBus()
    for n in range(5):
        bus.publish(gap(n))
    resumed = bus.subscribe(ALL, resume_after=2)
    assert resumed.recovered
    assert [e.offset for e in resumed.backlog] == [3, 4, 5]
    assert bus.subscribe(ALL, resume_after=5).recovered
    assert not bus.subscribe(ALL, resume_after=6).recovered
    assert not bus.subscribe(ALL).recovered
    for n in range(5000):
        bus.publish(gap(n))
    assert not bus.subscribe(ALL, resume_after=2).recovered


async def test_a_slow_reader_loses_repeated_verdicts_but_no_change_of_label() -> None:
    bus = EventBus()
    reader = bus.subscribe(ALL)
    quiet, loud = verdicts(400, 0.0), verdicts(60, 9.0)
    bus.publish(started())
    for verdict in quiet:
        bus.publish(verdict)
    for verdict in loud:
        bus.publish(verdict)
    bus.publish(ended())
    reader.close()
    got = await read_to_end(reader)
    assert isinstance(got[0], StreamStarted)
    assert isinstance(got[-1], StreamEnded)
    assert len(got) <= QUEUE_EVENTS

    def changes(events: list[Event]) -> list[tuple[str, str]]:
        states = [(e.label.value, e.reason.value) for e in events if isinstance(e, Verdict)]
        return [s for n, s in enumerate(states) if n == 0 or s != states[n - 1]]

    assert changes(got) == changes([*quiet, *loud])
    assert quiet[-1] in got, "the newest of the conflated ticks is the one that is kept"


async def test_an_overflow_is_reported_once_and_never_blocks_other_readers() -> None:
    bus = EventBus()
    slow, quick = bus.subscribe(ALL), bus.subscribe(ALL)
    for n in range(QUEUE_EVENTS + 5):
        bus.publish(gap(n))
        assert (await quick.next()).event == gap(n)
    with pytest.raises(SubscriberTooSlow):
        await slow.next()


async def test_the_snapshot_has_starts_and_latest_verdicts_of_running_streams() -> None:
    bus = EventBus()
    bus.publish(started("a"))
    for verdict in verdicts(5):
        bus.publish(verdict)
    bus.publish(started("b"))
    bus.publish(started("c"))
    bus.publish(ended("c"))
    kinds = [(type(e.event).__name__, e.event.stream) for e in bus.snapshot(ALL)]
    assert kinds == [("StreamStarted", "a"), ("Verdict", "a"), ("StreamStarted", "b")]


async def test_closing_wakes_every_reader() -> None:
    bus = EventBus()
    waiting = asyncio.create_task(bus.subscribe(ALL).next())
    await asyncio.sleep(0)
    bus.close()
    with pytest.raises(BusClosed):
        await asyncio.wait_for(waiting, 10)
