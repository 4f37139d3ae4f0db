"""Live and ended sessions by stream id, and a session before, during and after its end."""

from __future__ import annotations

import asyncio
import re
import time

import pytest

from stream.config import StreamConfig
from stream.errors import StreamUnknown, WorkerLost
from stream.events import Event, StreamEnded, StreamStarted
from stream.identity import LABEL, STREAM_ID, StreamIdentity
from stream.session_table import SessionTable
from stream.stream_session import Session, StreamSpec
from stream.types import Codec, EndReason, FrameCounts, MediaUnit, ModelRef


class Feed:
    """A worker feed that counts its units."""

    waiting = 0

    def __init__(self) -> None:
        self.units: list[MediaUnit] = []

    @property
    def counts(self) -> FrameCounts:
        return FrameCounts(received=len(self.units))

    def feed(self, unit: MediaUnit) -> None:
        self.units.append(unit)

    def set_pace(self, pace: int) -> None:
        """No-op: this feed does not sample."""

    def abandon(self) -> None:
        self.units.clear()

    async def close(self) -> FrameCounts:
        return self.counts


class Host:
    """Collects the events of its sessions, which end in `table`. Also stands for the source, and is closed with it."""

    def __init__(self, table: SessionTable) -> None:
        self.table = table
        self.events: list[Event] = []
        self.closed = 0

    def publish(self, event: Event) -> None:
        self.events.append(event)

    def alarm(self, change: object) -> None:
        """No-op: without a model there is no alarm."""

    def pictured(self, observation: object) -> None:
        """No-op: without an alarm there are no pictures."""

    def model(self) -> ModelRef | None:
        return None

    def evidence(self) -> None:
        return None

    def ended(self, session: Session) -> None:
        self.table.end(session)

    def spawn(self, session: Session, reason: EndReason, message: str) -> None:
        raise AssertionError("the feed does not fail")

    def request_keyframe(self) -> None:
        """No-op: the test sends key frames only."""

    async def close(self) -> None:
        self.closed += 1

    def start(self, stream: str, feed: Feed | None = None) -> Session:
        spec = StreamSpec(identity=StreamIdentity(stream, "room", "ann"), source="whip", codec=Codec.VP8, sample=True)
        session = Session(
            spec, self.table.next_epoch(stream), StreamConfig(), host=self, control=self,
            attach=lambda _: feed or Feed(),
        )
        self.table.add(session)
        session.announce()
        return session


async def test_a_stream_is_live_then_ended_then_forgotten() -> None:
    host = Host(SessionTable(kept_s=0.5, kept=8))
    session = host.start("call")
    info = host.table.get("call")
    assert (info.stream, info.call_id, info.participant_id, info.source) == ("call", "room", "ann", "whip")
    assert (info.sample, info.state) == (True, "live")
    assert host.table.live("call") is session
    await session.end(EndReason.STOPPED)
    assert (len(host.table), "call" in host.table) == (0, False)
    assert [info.state for info in host.table.list()] == ["ended"]
    assert host.table.preview("call") is None
    with pytest.raises(StreamUnknown, match="running"):
        host.table.live("call")
    await asyncio.sleep(0.6)
    with pytest.raises(StreamUnknown, match="nor recently ended"):
        host.table.get("call")
    assert host.table.list() == ()


async def test_only_the_newest_ended_streams_are_kept() -> None:
    host = Host(SessionTable(kept_s=60.0, kept=2))
    for name in ("a", "b", "c"):
        await host.start(name).end(EndReason.STOPPED)
    assert [info.stream for info in host.table.list()] == ["b", "c"]
    host.start("b")
    assert [(info.stream, info.state) for info in host.table.list()] == [("b", "live"), ("c", "ended")]


def test_epochs_of_an_id_grow_even_within_a_second() -> None:
    table = SessionTable(kept_s=60.0, kept=2)
    epochs = [table.next_epoch("call") for _ in range(5)]
    assert epochs == sorted(set(epochs))
    assert epochs[0] >= int(time.time()) - 1


async def test_a_session_carries_its_identity_into_its_events() -> None:
    host, feed = Host(SessionTable(kept_s=60.0, kept=2)), Feed()
    session = host.start("call", feed)
    session.feed(b"key", 0.0, True, 1.0)
    await session.hang_up()
    await session.end(EndReason.PUBLISHER_LEFT, "bye")
    session.feed(b"late", 1.0, True, 2.0)
    started, ended = host.events
    assert isinstance(started, StreamStarted)
    assert (started.stream, started.call_id, started.participant_id) == ("call", "room", "ann")
    assert isinstance(ended, StreamEnded)
    assert (ended.reason, ended.message, ended.frames.received) == (EndReason.PUBLISHER_LEFT, "bye", 1)
    assert [unit.payload for unit in feed.units] == [b"key"]
    assert host.closed == 1


def test_a_session_is_not_created_without_a_worker() -> None:
    host = Host(SessionTable(kept_s=60.0, kept=2))

    def refuse(_: Session) -> Feed:
        raise WorkerLost("the worker pool is closed")

    spec = StreamSpec(identity=StreamIdentity("call"), source="whip", codec=Codec.VP8)
    with pytest.raises(WorkerLost):
        Session(spec, 1, StreamConfig(), host=host, control=host, attach=refuse)
    assert (host.events, len(host.table)) == ([], 0)


@pytest.mark.parametrize(("name", "fits"), [
    ("a", True), ("room.ann", True), ("~x", True), ("a" * 128, True),
    ("", False), (".", False), ("..", False), (".a", False), ("a/b", False), ("a" * 129, False), ("a\n", False),
])
def test_stream_ids(name: str, fits: bool) -> None:
    assert (re.fullmatch(STREAM_ID, name) is not None) is fits


@pytest.mark.parametrize(("label", "fits"), [("", True), ("ann@example.org", True), ("a b", False), ("a" * 129, False)])
def test_labels(label: str, fits: bool) -> None:
    assert (re.fullmatch(LABEL, label) is not None) is fits
