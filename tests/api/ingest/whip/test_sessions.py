"""The table of publishers: admission, deadlines, hanging up, and nothing left behind."""

from __future__ import annotations

import asyncio

import psutil
import pytest

from api.errors import Busy, NotFound, OfferRefused
from api.http.auth import Caller
from api.ingest.whip.config import WhipConfig
from api.ingest.whip.sessions import SessionRef
from stream.errors import ServiceDraining, StreamExists
from stream.types import EndReason
from tests.api.guards import loop_never_blocked, nothing_left
from tests.api.offers import BROWSER, an_offer
from tests.api.publisher import publishing
from tests.api.whip_rig import CollectingService, until, whip_rig, whip_sessions_of


async def test_sessions_that_never_connect_end_and_free_all_resources() -> None:
    service = CollectingService()
    async with whip_sessions_of(WhipConfig(connect_s=3.0), service) as sessions:
        await sessions.offer(an_offer("warm"))
        await until(lambda: sessions.status.sessions == 0)
        async with nothing_left(), loop_never_blocked():
            for number in range(30):
                await sessions.offer(an_offer(f"dead-{number}", BROWSER))
            assert sessions.status == (30, 30)
            assert psutil.Process().num_fds() > 30
            await until(lambda: sessions.status.sessions == 0)
    assert service.sessions == []


async def test_closing_ends_every_session_and_admits_no_more() -> None:
    async with whip_rig() as rig, publishing(f"{rig.url}/whip/call"):
        session = await rig.service.first()
        await rig.sessions.offer(an_offer("pending"))
        async with loop_never_blocked():
            await rig.registry.close()
        assert session.ended is EndReason.SHUTDOWN
        assert rig.sessions.status == (0, 0)
        with pytest.raises(ServiceDraining):
            await rig.sessions.offer(an_offer("late"))
        await rig.registry.close()


async def test_a_stream_has_one_publisher() -> None:
    async with whip_sessions_of() as sessions:
        answer = await sessions.offer(an_offer())
        with pytest.raises(StreamExists):
            await sessions.offer(an_offer())
        await sessions.end(SessionRef("call", answer.session_id, ""))
        await sessions.offer(an_offer())


async def test_sessions_are_limited_in_total_by_caller_and_while_connecting() -> None:
    async with whip_sessions_of(WhipConfig(max_sessions=3, max_sessions_per_caller=2, max_pending=64)) as sessions:
        other = Caller("key-2", "key-2")
        await sessions.offer(an_offer("a"))
        await sessions.offer(an_offer("b"))
        with pytest.raises(Busy, match="limit of sessions"):
            await sessions.offer(an_offer("c"))
        await sessions.offer(an_offer("c", caller=other))
        with pytest.raises(Busy) as refused:
            await sessions.offer(an_offer("d", caller=other))
        assert refused.value.status == 503
        assert refused.value.retry_after_s is not None
    async with whip_sessions_of(WhipConfig(max_pending=1)) as sessions:
        await sessions.offer(an_offer("a"))
        with pytest.raises(Busy, match="connecting"):
            await sessions.offer(an_offer("b"))


async def test_a_session_belongs_to_its_tenant() -> None:
    async with whip_sessions_of() as sessions:
        owner = Caller("key-1", "key-1")
        answer = await sessions.offer(an_offer(caller=owner))
        for stream, session_id, tenant in (
            ("call", answer.session_id, "key-2"), ("call", "guess", "key-1"), ("other", answer.session_id, "key-1"),
        ):
            with pytest.raises(NotFound):
                await sessions.end(SessionRef(stream, session_id, tenant))
        await sessions.end(SessionRef("call", answer.session_id, "key-1"))


async def test_session_names_cannot_be_guessed() -> None:
    async with whip_sessions_of() as sessions:
        names = {(await sessions.offer(an_offer(str(n)))).session_id for n in range(10)}
        assert len(names) == 10
        assert min(map(len, names)) >= 22       # 128 bits


async def test_a_refused_offer_leaves_nothing_and_reserves_no_id() -> None:
    async with whip_sessions_of() as sessions:
        async with nothing_left():
            for _ in range(5):
                with pytest.raises(OfferRefused):
                    await sessions.offer(an_offer(sdp="hello"))
            assert sessions.status == (0, 0)
        await sessions.offer(an_offer())


async def test_an_offer_that_is_cancelled_leaves_nothing() -> None:
    async with whip_sessions_of() as sessions, nothing_left():
        task = asyncio.create_task(sessions.offer(an_offer()))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        del task        # its exception holds the connection
        await until(lambda: sessions.status.sessions == 0)
