"""Hostile media and datagrams: no unhandled exception, no growth of memory, and the call continues."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.api.guards import nothing_left
from tests.api.hostile_rtp import VP8, bad_rtcp, bad_rtp, damaged, rtp
from tests.api.publisher import publishing
from tests.api.whip_rig import until, whip_rig

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.api.publisher import Publisher
    from tests.api.whip_rig import CollectingSession, Rig

DAMAGED = 4000


class Wire:
    """The server's end of one call, behind SRTP: what is put in here was let through by it."""

    def __init__(self, rig: Rig, session: CollectingSession, call: Publisher) -> None:
        self.session = session
        self.call = call
        self.source = rig.session("call")
        self.dtls: Any = self.source._receiver.transport

    async def rtp(self, data: bytes) -> None:
        await self.dtls._handle_rtp_data(data, arrival_time_ms=0)

    async def rtcp(self, data: bytes) -> None:
        await self.dtls._handle_rtcp_data(data)

    async def goes_on(self) -> None:
        """The publisher's frames still come."""
        known = len(self.session.units)
        await until(lambda: len(self.session.units) > known + 10)
        assert self.session.ended is None


async def survives(attack: Callable[[Wire], Awaitable[None]]) -> None:
    """A call lives through this, and nothing of it is left. What the loop or a task could not handle fails the test."""
    unhandled: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: unhandled.append(context))
    try:
        async with nothing_left():
            await _attacked(attack)
    finally:
        loop.set_exception_handler(None)
    assert not unhandled


async def _attacked(attack: Callable[[Wire], Awaitable[None]]) -> None:
    async with whip_rig() as rig, publishing(f"{rig.url}/whip/call") as call:
        await attack(Wire(rig, await rig.service.first(), call))


async def test_rtp_that_lies_is_dropped_and_the_call_goes_on() -> None:
    async def attack(wire: Wire) -> None:
        ssrc = wire.source._track.ssrc or 0
        for data in bad_rtp().values():
            await wire.rtp(data)
            await wire.rtp(data[:8] + ssrc.to_bytes(4, "big") + data[12:])      # in the name of the call
        await wire.goes_on()

    await survives(attack)


async def test_rtcp_that_lies_is_dropped_and_the_call_goes_on() -> None:
    async def attack(wire: Wire) -> None:
        for data in bad_rtcp().values():
            await wire.rtcp(data)
        await wire.goes_on()

    await survives(attack)


async def test_damaged_packets_of_the_call_itself_are_survived() -> None:
    async def attack(wire: Wire) -> None:
        heard: list[bytes] = []
        handle = wire.dtls._handle_rtp_data

        async def listen(data: bytes, arrival_time_ms: int) -> None:
            heard.append(data)
            await handle(data, arrival_time_ms=arrival_time_ms)

        wire.dtls._handle_rtp_data = listen
        await until(lambda: len(heard) > 60)
        wire.dtls._handle_rtp_data = handle
        for number, data in enumerate(damaged(heard[:60], DAMAGED, seed=4)):
            await wire.rtp(data)
            await wire.rtcp(data)
            if number % 50 == 0:
                await asyncio.sleep(0)
        await wire.goes_on()

    await survives(attack)


async def test_sources_are_bounded_however_many_are_named() -> None:
    """aiortc keeps something for every SSRC, and cannot report on more than 31 of them."""
    async def attack(wire: Wire) -> None:
        for ssrc in range(2, 3000):
            await wire.rtp(rtp(ssrc=ssrc))
        assert len(wire.dtls._rtp_router.ssrc_table) <= 16
        await asyncio.sleep(2)      # a receiver report is due within 1.5 s
        await wire.goes_on()

    await survives(attack)


async def test_sequence_numbers_that_jump_cost_no_more_than_others() -> None:
    async def attack(wire: Wire) -> None:
        ssrc = wire.source._track.ssrc or 0
        used_s = time.process_time()
        for number in range(2000):
            await wire.rtp(rtp(ssrc=ssrc, sequence=number * 32_000 % 65_536))
        assert time.process_time() - used_s < 3         # aiortc's own way takes several ms for each
        await wire.goes_on()

    await survives(attack)


async def test_datagrams_from_other_addresses_are_ignored() -> None:
    async def attack(wire: Wire) -> None:
        pick = random.Random(4)
        heads = (
            b"", b"\0\1\0\0\x21\x12\xa4\x42", b"\1\1\0\0\x21\x12\xa4\x42", b"\x16\xfe\xff", b"\x17\xfe\xfd",
            b"\x80\x61", b"\x80\xc8",
        )
        address = wire.dtls.transport._connection._nominated[1].local_addr[:2]
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as stranger:
            for number in range(500):
                size = pick.choice((0, 1, 4, 20, 60, 200, 1400))
                stranger.sendto(heads[number % len(heads)] + os.urandom(size), address)
                if number % 50 == 0:
                    await asyncio.sleep(0.01)
        await wire.goes_on()
        assert wire.dtls.state == "connected"

    await survives(attack)


@pytest.mark.parametrize("source", [bad_rtp, bad_rtcp])
def test_there_are_enough_of_them(source: Any) -> None:
    assert len(source()) >= 50
    assert rtp()[1] & 0x7F == VP8
