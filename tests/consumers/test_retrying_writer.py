"""RetryingWriter: outages are waited out, permanent failures are raised."""

from __future__ import annotations

import asyncio

import pytest

from consumers.broker import Message, PartitionId
from consumers.errors import RecordTooLarge
from consumers.retrying_writer import RetryingWriter
from tests.memory_broker.broker import MemoryBroker
from tests.stream.sinks import until


async def test_a_write_waits_for_the_broker_and_reports_for_how_long() -> None:
    broker = MemoryBroker({"t": 1})
    out = RetryingWriter(await broker.writer(), 0.2)
    await out.write(Message("t", b"k", b"1"))
    assert out.unreachable_s == 0
    broker.log.is_up = False
    writing = asyncio.create_task(out.write(Message("t", b"k", b"2")))
    await until(lambda: out.unreachable_s > 0.3)
    assert not writing.done()
    broker.log.is_up = True
    async with asyncio.timeout(10):
        await writing
    assert out.unreachable_s == 0
    assert [record.value for record in broker.log.records(PartitionId("t", 0))] == [b"1", b"2"]


async def test_permanent_failures_are_raised() -> None:
    out = RetryingWriter(await MemoryBroker({"t": 1}, record_bytes=10).writer(), 0.2)
    with pytest.raises(RecordTooLarge):
        await out.write(Message("t", b"k", b"x" * 11))
