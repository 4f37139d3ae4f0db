from __future__ import annotations

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from api.incidents.database import Database
from api.incidents.incident_publisher import WAITING, IncidentPublisher, PublisherTimeouts
from api.incidents.incident_queries import IncidentQueries, IncidentQuery
from api.incidents.incident_store import IncidentStore
from stream.event_bus import EventBus, Selection
from stream.events import IncidentClosed, IncidentOpened, StreamEnded, Verdict
from stream.types import EndReason, FrameCounts
from tests.api.calls import said, started
from tests.stream.cases import opened_case, over

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from stream.event_bus import Subscription
    from stream.events import Event

ENDED = StreamEnded(stream="call", epoch=7, reason=EndReason.STOPPED, message="", frames=FrameCounts())
HURRIED = PublisherTimeouts(hold_s=0.3, settle_s=0.5)


class Bench:
    """A running publisher and the events on its bus."""

    def __init__(self, database: Database, timeouts: PublisherTimeouts) -> None:
        self.bus = EventBus()
        self.queries = IncidentQueries(database)
        self.events: Subscription = self.bus.subscribe(Selection())
        self.threads = ThreadPoolExecutor(2)
        self.wakes = 0
        self.publisher = IncidentPublisher(self.bus, IncidentStore(database), self.threads, self._woken, timeouts)

    def _woken(self) -> None:
        self.wakes += 1

    async def next(self) -> Event:
        async with asyncio.timeout(30):
            return (await self.events.next()).event

    @property
    def kept(self) -> list[str]:
        return [incident.stream for incident in self.queries.list(IncidentQuery(limit=100))]


@asynccontextmanager
async def working(
    database: Database, timeouts: PublisherTimeouts = PublisherTimeouts(30.0, 30.0)     # noqa: B008
) -> AsyncIterator[Bench]:
    made = Bench(database, timeouts)
    running = asyncio.create_task(made.publisher.run())
    try:
        yield made
        await made.publisher.settle()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        made.threads.shutdown()


def locked(database_url: str) -> sqlite3.Connection:
    """Holds a write transaction open."""
    other = sqlite3.connect(database_url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    return other


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/incidents.sqlite"


async def test_an_incident_is_stored_before_its_alarm_is_published(database: Database) -> None:
    case = opened_case()
    async with working(database) as at:
        at.publisher.alarm(case)
        at.publisher.publish(case.verdict)
        at.publisher.publish(said("other", 1))
        at.publisher.publish(said("call", 99))
        assert (await at.next()).stream == "other", "nobody else waits"
        opened = await at.next()
        assert isinstance(opened, IncidentOpened)
        assert at.kept == ["call"]
        assert await at.next() == case.verdict
        later = await at.next()
        assert isinstance(later, Verdict)
        assert later.sequence == 99
        assert at.wakes == 1


async def test_the_end_comes_last(database: Database) -> None:
    case = opened_case()
    async with working(database) as at:
        at.publisher.alarm(case)
        at.publisher.publish(case.verdict)
        at.publisher.alarm(over(case))
        at.publisher.publish(ENDED)
        kinds = [type(await at.next()) for _ in range(4)]
    assert kinds == [IncidentOpened, IncidentClosed, Verdict, StreamEnded]


async def test_a_repeated_alarm_is_published_once(database: Database) -> None:
    async with working(database) as at:
        at.publisher.alarm(opened_case())
        at.publisher.alarm(opened_case())
        at.publisher.publish(started("call"))
        assert isinstance(await at.next(), IncidentOpened)
        assert (await at.next()) == started("call")


async def test_a_slow_database_delays_the_verdict_but_not_for_long(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    other, case = locked(sqlite_url), opened_case()
    async with working(database, HURRIED) as at:
        at.publisher.alarm(case)
        at.publisher.publish(case.verdict)
        assert await at.next() == case.verdict
        assert at.kept == []
        at.publisher.publish(said("call", 99))
        assert isinstance(await at.next(), Verdict), "nothing is held any more"
        other.execute("ROLLBACK")
        other.close()
        assert isinstance(await at.next(), IncidentOpened)
        assert at.kept == ["call"]
    database.close()


async def test_alarms_without_end_are_bounded_and_counted(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    other, case = locked(sqlite_url), opened_case()
    async with working(database, HURRIED) as at:
        at.publisher.alarm(case)
        await asyncio.sleep(0.1)
        for _ in range(WAITING + 3):
            at.publisher.alarm(case)
        assert at.publisher.lost == 3
        at.publisher.publish(case.verdict)
        assert await at.next() == case.verdict
        other.execute("ROLLBACK")
        other.close()
        assert isinstance(await at.next(), IncidentOpened)
    database.close()


async def test_a_hold_that_began_later_is_not_ended_by_an_earlier_write(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    other, case, again = locked(sqlite_url), opened_case(), opened_case(epoch=8)
    async with working(database, PublisherTimeouts(hold_s=0.3)) as at:
        at.publisher.alarm(case)
        at.publisher.publish(said("call", 1))
        assert isinstance(await at.next(), Verdict)
        at.publisher._timeouts = PublisherTimeouts(hold_s=30.0)
        at.publisher.alarm(again)
        at.publisher.publish(again.verdict)
        other.execute("ROLLBACK")
        other.close()
        told = [await at.next() for _ in range(3)]
    assert [type(event) for event in told] == [IncidentOpened, IncidentOpened, Verdict]
    database.close()
