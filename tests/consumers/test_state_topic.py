"""State topic: states of assigned partitions are loaded, also after an outage."""

from __future__ import annotations

import asyncio

from consumers.state_topic import load_states
from consumers.verdict_records import state_message, tombstone
from tests.consumers.test_verdict_records import ended, some
from tests.memory_broker.broker import MemoryBroker

TOPIC = "stream-state"


async def broker_with_states() -> MemoryBroker:
    broker = MemoryBroker({TOPIC: 3})
    writer = await broker.writer()
    for verdict in some():
        await writer.write(state_message(TOPIC, 1, verdict))
    await writer.write(state_message(TOPIC, 2, ended(1)))
    await writer.write(tombstone(TOPIC, 2, "call"))
    return broker


async def test_only_the_given_partitions_are_read() -> None:
    broker = await broker_with_states()
    states = await load_states(broker, TOPIC, [0, 1])
    assert {partition: dict(states[partition]) for partition in range(3)} == {0: {}, 1: {"call": some()[-1]}, 2: {}}
    assert await load_states(broker, TOPIC, [2]) == {2: {}}


async def test_an_outage_is_waited_out() -> None:
    broker = await broker_with_states()
    broker.log.is_up = False
    loading = asyncio.create_task(load_states(broker, TOPIC, [1]))
    await asyncio.sleep(0.2)
    assert not loading.done()
    broker.log.is_up = True
    async with asyncio.timeout(10):
        assert (await loading)[1] == {"call": some()[-1]}
