"""The client of the WebSocket against the real service, with the connection cut at every possible place."""

from __future__ import annotations

import asyncio
import random
import socket
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from api.clients.websocket import RECONNECT_POLICY, Disconnected, FeedPosition, NewEvent, Snapshot, WatchOptions, watch
from api.errors import WatchRefused
from stream.events import Label, Reason, StreamEnded, Verdict
from stream.types import EndReason, FrameCounts
from tests.api.calls import said, started
from tests.api.conftest import KEY
from tests.api.rig import running_rig

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from stream.events import Event
    from tests.api.rig import Rig

News = Snapshot | NewEvent | Disconnected


def publish(rig: Rig, *events: Event) -> None:
    for event in events:
        rig.call(rig.context.bus.publish, event)


def ended(stream: str) -> StreamEnded:
    return StreamEnded(stream=stream, epoch=1, reason=EndReason.STOPPED, message="", frames=FrameCounts())


async def happened(news: AsyncGenerator[News, None], count: int) -> list[Event]:
    """Returns the next `count` events, without other messages."""
    events: list[Event] = []
    while len(events) < count:
        said = await anext(news)
        if isinstance(said, NewEvent):
            events.append(said.event)
    return events


class Line:
    """A connection to the service that can be cut: bytes in both directions, up to `limit_bytes` towards the client."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._writers: list[asyncio.StreamWriter] = []
        self.limit_bytes: int | None = None
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            back, forth = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            writer.close()
            return
        self._writers += [writer, forth]
        await asyncio.wait(
            [asyncio.create_task(self._carry(reader, forth, None)),
             asyncio.create_task(self._carry(back, writer, self.limit_bytes))],
            return_when=asyncio.FIRST_COMPLETED,
        )
        self.cut()

    def cut(self) -> None:
        for writer in self._writers:
            writer.close()
        self._writers.clear()

    @staticmethod
    async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit_bytes: int | None) -> None:
        left = limit_bytes
        while data := await reader.read(4096):
            writer.write(data if left is None else data[:left])
            left = None if left is None else left - len(data)
            if left is not None and left <= 0:
                await writer.drain()
                return


@asynccontextmanager
async def line_to(port: int) -> AsyncIterator[tuple[Line, str]]:
    line = Line(port)
    server = await asyncio.start_server(line.serve, "127.0.0.1", 0)
    async with server:
        yield line, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        line.cut()


async def test_a_snapshot_comes_before_new_events(rig: Rig) -> None:
    publish(rig, started("seen"), said("seen", 1))
    async with aclosing(watch(rig.url, WatchOptions(stream="seen"))) as news:
        known = await anext(news)
        assert isinstance(known, Snapshot)
        assert known.events == (started("seen"), said("seen", 1))
        publish(rig, said("other", 1), said("seen", 2), ended("seen"))
        first = await anext(news)
        assert isinstance(first, NewEvent)
        assert first.event == said("seen", 2)
        assert first.place == FeedPosition(known.place.feed, known.place.offset + 2)
        assert await happened(news, 1) == [ended("seen")]


async def test_events_can_be_filtered_by_call_and_label(rig: Rig) -> None:
    fake = said("b", 2, Label.FAKE, Reason.EVIDENCE_FAKE)
    options = WatchOptions(call="room", labels=frozenset({Label.FAKE}))
    async with aclosing(watch(rig.url, options)) as news:
        assert isinstance(await anext(news), Snapshot)
        publish(rig, started("a"), said("a", 1, Label.FAKE, Reason.EVIDENCE_FAKE))
        publish(rig, started("b", call_id="room"), said("b", 1), fake, said("b", 3), said("b", 4))
        publish(rig, ended("b"), ended("a"))
        assert await happened(news, 4) == [started("b", call_id="room"), fake, said("b", 3), ended("b")]


async def test_it_goes_on_from_an_earlier_place(rig: Rig) -> None:
    async with aclosing(watch(rig.url, WatchOptions(stream="again"))) as news:
        known = await anext(news)
    assert isinstance(known, Snapshot)
    publish(rig, said("again", 1), said("again", 2))
    async with aclosing(watch(rig.url, WatchOptions(stream="again", resume=known.place))) as news:
        assert [await anext(news) for _ in range(2)] == [
            NewEvent(said("again", n), FeedPosition(known.place.feed, known.place.offset + n)) for n in (1, 2)
        ]


@pytest.mark.slow
async def test_wherever_the_line_is_cut_nothing_is_lost_doubled_or_out_of_order(rig: Rig) -> None:
    draw = random.Random(7)
    wanted = [said("cut", n, *([Label.FAKE, Reason.EVIDENCE_FAKE] if n % 3 else [])) for n in range(1, 121)]
    async with line_to(rig.port) as (line, url), aclosing(watch(url, WatchOptions(stream="cut"))) as news:
        line.limit_bytes = draw.randrange(3000, 9000)       # in the middle of a message, mostly
        assert isinstance(await anext(news), Snapshot)
        publishing = asyncio.create_task(asyncio.to_thread(publish, rig, *wanted))
        got: list[Event] = []
        while len(got) < len(wanted):
            item = await anext(news)
            assert not isinstance(item, Snapshot), "the history has all of it"
            if isinstance(item, NewEvent):
                got.append(item.event)
            line.limit_bytes = draw.randrange(1500, 30_000)
        await publishing
    assert got == wanted
    assert line.connections > 3


async def test_a_new_service_at_the_same_url_sends_a_snapshot(rig: Rig) -> None:
    with running_rig() as other:
        async with line_to(rig.port) as (line, url), aclosing(watch(url, WatchOptions(stream="moved"))) as news:
            publish(rig, said("moved", 1))
            first = await anext(news)
            line.port = other.port
            publish(other, started("moved"), said("moved", 7))
            line.cut()
            assert isinstance(await anext(news), Disconnected)
            known = await anext(news)
    assert isinstance(first, Snapshot)
    assert isinstance(known, Snapshot)
    assert known.place.feed != first.place.feed
    assert [event.sequence for event in known.events if isinstance(event, Verdict)] == [7]


async def test_an_unreachable_service_is_retried() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    async with aclosing(watch(f"http://127.0.0.1:{port}")) as news:
        cuts = [await anext(news) for _ in range(2)]
    assert all(isinstance(cut, Disconnected) for cut in cuts)


async def test_permanent_refusals_raise(rig: Rig, keyed_rig: Rig) -> None:
    refused = [
        (keyed_rig.url, WatchOptions()), (keyed_rig.url, WatchOptions(key="wrong")),
        (f"{rig.url}/health", WatchOptions()), ("127.0.0.1:5000", WatchOptions()),
    ]
    for url, options in refused:
        with pytest.raises(WatchRefused):
            await anext(watch(url, options))
    async with aclosing(watch(keyed_rig.url, WatchOptions(key=KEY))) as news:
        assert isinstance(await anext(news), Snapshot)


def test_tries_grow_apart_up_to_a_limit() -> None:
    for failures, longest_s in enumerate([0.5, 1, 2, 4, 8, 15, 15], 1):
        assert longest_s / 2 <= RECONNECT_POLICY.delay_s(failures) <= longest_s
    assert 7.5 <= RECONNECT_POLICY.delay_s(10_000) <= 15
