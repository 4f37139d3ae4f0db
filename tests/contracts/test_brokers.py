"""Contract of `consumers.broker`, for the in-memory broker and for Kafka."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from consumers.broker import Message, PartitionId
from consumers.errors import GenerationLost, RecordTooLarge, TopicMissing
from tests.contracts.conftest import RECORD_BYTES
from tests.contracts.groups import PATIENCE_S, RecordingListener, settled, taken

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from consumers.broker import Member, Reader, Record, Writer
    from tests.contracts.conftest import Ground

# From org.apache.kafka.common.utils.Utils.murmur2 of Kafka 4.1.1; key lengths cover all remainders modulo 4.
PARTITION_OF_KEY = {b"call-1": 1, b"room-7": 0, b"stream-a": 0, b"stream-b": 2, "gespräch".encode(): 0}


class Clients:
    """Opens clients and closes them at the end, newest first."""

    def __init__(self, ground: Ground, stack: AsyncExitStack) -> None:
        self._ground = ground
        self._stack = stack

    async def writer(self) -> Writer:
        writer = await self._ground.connect().writer()
        self._stack.push_async_callback(writer.close)
        return writer

    async def member(self, *topics: str) -> tuple[Member, RecordingListener]:
        listener = RecordingListener()
        member = await self._ground.connect().member(self._ground.group, topics or (self._ground.topic,), listener)
        self._stack.push_async_callback(member.close)
        return member, listener

    async def reader(self, *topics: str) -> Reader:
        reader = await self._ground.connect().reader(topics or (self._ground.topic,))
        self._stack.push_async_callback(reader.close)
        return reader


@pytest.fixture
async def clients(ground: Ground) -> AsyncIterator[Clients]:
    async with AsyncExitStack() as stack:
        yield Clients(ground, stack)


async def write(writer: Writer, topic: str, count: int, partition: int = 0, start: int = 0) -> None:
    for number in range(start, start + count):
        await writer.write(Message(topic, b"key", b"%d" % number, partition=partition))


async def read_all(reader: Reader, count: int) -> list[Record]:
    records: list[Record] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(records) < count:
            records += await reader.take(count - len(records), 0.5)
    return records


def values(records: list[Record]) -> list[int]:
    return [int(record.value or b"-1") for record in records]


async def test_a_record_is_read_as_written(ground: Ground, clients: Clients) -> None:
    writer, reader = await clients.writer(), await clients.reader()
    headers = (("ce_id", b"a/1/2"), ("ce_id", b"twice"), ("empty", b""), ("none", None), ("\u00fcber", b"\x00\xff"))
    before_ms = int(time.time() * 1000)
    assert await writer.write(Message(ground.topic, b"k\x00", b"\x00\x01", headers, partition=2)) == 0
    assert await writer.write(Message(ground.topic, b"k\x00", None, partition=2)) == 1
    await reader.seek({PartitionId(ground.topic, 2): 0})
    first, tombstone = await read_all(reader, 2)
    assert first[:2] == (PartitionId(ground.topic, 2), 0)
    assert before_ms - 1 <= first.timestamp_ms <= time.time() * 1000 + 1
    assert (first.key, first.value, first.headers) == (b"k\x00", b"\x00\x01", headers)
    assert tombstone.value is None


async def test_the_key_chooses_the_partition_as_in_the_java_client(ground: Ground, clients: Clients) -> None:
    writer, reader = await clients.writer(), await clients.reader()
    for key in PARTITION_OF_KEY:
        await writer.write(Message(ground.topic, key, b"x"))
    await reader.seek({PartitionId(ground.topic, p): 0 for p in range(3)})
    found = await read_all(reader, len(PARTITION_OF_KEY))
    assert {record.key: record.partition_id.partition for record in found} == PARTITION_OF_KEY


async def test_invalid_messages_are_refused(ground: Ground, clients: Clients) -> None:
    writer = await clients.writer()
    with pytest.raises(RecordTooLarge):
        await writer.write(Message(ground.topic, b"k", bytes(2 * RECORD_BYTES)))
    with pytest.raises(TopicMissing):
        await writer.write(Message(ground.topic, b"k", b"v", partition=3))
    with pytest.raises(ValueError, match="key or a value"):
        await writer.write(Message(ground.topic, None, None))
    assert await writer.write(Message(ground.topic, b"k", bytes(RECORD_BYTES - 4096), partition=0)) == 0


async def test_writes_may_run_concurrently(ground: Ground, clients: Clients) -> None:
    writer, reader = await clients.writer(), await clients.reader()
    offsets = await asyncio.gather(
        *(writer.write(Message(ground.topic, b"k", b"%d" % n, partition=0)) for n in range(300))
    )
    assert sorted(offsets) == list(range(300))
    await reader.seek({PartitionId(ground.topic, 0): 0})
    assert {r.offset: int(r.value or b"") for r in await read_all(reader, 300)} == {o: n for n, o in enumerate(offsets)}


async def test_a_missing_topic_is_refused(clients: Clients) -> None:
    with pytest.raises(TopicMissing, match="no-such-topic"):
        await clients.reader("no-such-topic")


async def test_a_single_member_reads_everything_from_the_start(ground: Ground, clients: Clients) -> None:
    writer = await clients.writer()
    for partition in range(3):
        await write(writer, ground.topic, 4, partition)
    member, listener = await clients.member()
    records = await taken(member, 12)
    assert listener.partition_ids == {PartitionId(ground.topic, p) for p in range(3)}
    for partition in range(3):
        assert values([r for r in records if r.partition_id.partition == partition]) == [0, 1, 2, 3]
    assert not (await member.take(10, 0.1)).records


async def test_take_respects_its_limit_and_loses_no_records(ground: Ground, clients: Clients) -> None:
    writer = await clients.writer()
    await write(writer, ground.topic, 10)
    member, _ = await clients.member()
    first = await taken(member, 3)
    assert values(first + await taken(member, 7)) == list(range(10))


async def test_only_uncommitted_records_are_read_again(ground: Ground, clients: Clients) -> None:
    writer = await clients.writer()
    await write(writer, ground.topic, 6)
    member, _ = await clients.member()
    batch = await member.take(1, PATIENCE_S)
    await taken(member, 5)
    await member.commit({PartitionId(ground.topic, 0): 2}, batch.generation)
    await member.close()
    await member.close()
    again, _ = await clients.member()
    assert values(await taken(again, 4)) == [2, 3, 4, 5]


async def test_members_share_the_partitions(ground: Ground, clients: Clients) -> None:
    first = await clients.member()
    await settled(first, partition_ids=3)
    second = await clients.member()
    await settled(first, second, partition_ids=3)
    assert {len(listener.partition_ids) for _, listener in (first, second)} == {1, 2}
    assert first[1].history[:2] == [
        ("assigned", frozenset(PartitionId(ground.topic, p) for p in range(3))),
        ("revoked", frozenset(PartitionId(ground.topic, p) for p in range(3))),
    ]
    await second[0].close()
    await settled(first, partition_ids=3)


async def test_a_surplus_member_gets_no_partition(ground: Ground, clients: Clients) -> None:
    first, _ = await clients.member(ground.other)
    async with asyncio.timeout(PATIENCE_S):
        second, listener = await clients.member(ground.other)
        while not any(word == "assigned" for word, _ in listener.history):
            await asyncio.gather(first.take(1, 0.1), second.take(1, 0.1))
    assert not (await second.take(1, 0.1)).records
    assert await second.lag() == {} or await first.lag() == {}


async def test_offsets_of_an_older_generation_cannot_be_committed(ground: Ground, clients: Clients) -> None:
    writer = await clients.writer()
    first, listener = await clients.member()
    await settled((first, listener), partition_ids=3)
    await write(writer, ground.topic, 1)
    batch = await first.take(1, PATIENCE_S)
    assert batch.records
    second = await clients.member()
    async with asyncio.timeout(PATIENCE_S):
        everything = frozenset(PartitionId(ground.topic, p) for p in range(3))
        while ("revoked", everything) not in listener.history or not listener.partition_ids:
            await asyncio.gather(first.take(1, 0.1), second[0].take(1, 0.1))
    for partition_id in listener.partition_ids:       # the same partitions as before
        with pytest.raises(GenerationLost):
            await first.commit({partition_id: 1}, batch.generation)


async def test_nothing_is_taken_during_a_revocation(ground: Ground, clients: Clients) -> None:
    """Otherwise the partition's next member would take the record a second time."""
    writer = await clients.writer()
    first, listener = await clients.member()
    await settled((first, listener), partition_ids=3)

    async def dawdle() -> None:
        for partition in range(3):
            await write(writer, ground.topic, 1, partition)
        await asyncio.sleep(1.0)

    listener.before_revoked = dawdle
    taking = asyncio.create_task(_take_until(first, listener))
    second, _ = await clients.member()
    found = list(await taking)
    async with asyncio.timeout(PATIENCE_S):
        while len(found) < 3:
            found += (await first.take(10, 0.1)).records + (await second.take(10, 0.1)).records
    assert not (await second.take(10, 0.5)).records + (await first.take(10, 0.5)).records
    assert sorted(record.partition_id.partition for record in found) == [0, 1, 2]


async def _take_until(member: Member, listener: RecordingListener) -> list[Record]:
    """Returns the records taken before the second assignment."""
    records: list[Record] = []
    async with asyncio.timeout(PATIENCE_S):
        while [word for word, _ in listener.history].count("assigned") < 2:
            records += (await member.take(10, 0.2)).records
    return records


async def test_a_member_may_commit_during_a_revocation(ground: Ground, clients: Clients) -> None:
    writer = await clients.writer()
    await write(writer, ground.topic, 3)
    first, listener = await clients.member()
    batch = await first.take(3, PATIENCE_S)
    assert values(list(batch.records)) == [0, 1, 2]
    failed: list[Exception] = []

    async def finish() -> None:
        try:
            await first.commit({PartitionId(ground.topic, 0): 3}, batch.generation)
        except GenerationLost as error:
            failed.append(error)

    listener.before_revoked = finish
    second = await clients.member()
    await settled((first, listener), second, partition_ids=3)      # no record is delivered twice
    assert not failed


async def test_offsets_of_unassigned_partitions_cannot_be_committed(ground: Ground, clients: Clients) -> None:
    writer = await clients.writer()
    member, listener = await clients.member()
    await settled((member, listener), partition_ids=3)
    await write(writer, ground.topic, 1)
    batch = await member.take(1, PATIENCE_S)
    with pytest.raises(GenerationLost):
        await member.commit({PartitionId(ground.other, 0): 1}, batch.generation)


async def test_a_paused_partition_resumes_at_its_position(ground: Ground, clients: Clients) -> None:
    writer = await clients.writer()
    await write(writer, ground.topic, 5, partition=0)
    await write(writer, ground.topic, 5, partition=1)
    member, _ = await clients.member()
    resting = PartitionId(ground.topic, 0)
    before = [r for r in await taken(member, 2) if r.partition_id == resting]
    await member.pause([resting, PartitionId(ground.other, 0)], True)
    others = await taken(member, 10 - 2 - (5 - len(before)))
    assert all(record.partition_id != resting for record in others)
    assert not (await member.take(10, 0.3)).records
    await member.pause([resting], False)
    assert values(before + await taken(member, 5 - len(before))) == [0, 1, 2, 3, 4]


async def test_a_rewind_keeps_partitions_paused(ground: Ground, clients: Clients) -> None:
    writer = await clients.writer()
    await write(writer, ground.topic, 5)
    member, _ = await clients.member()
    await taken(member, 5)
    await member.rewind({PartitionId(ground.topic, 0): 2, PartitionId(ground.other, 0): 0})
    assert values(await taken(member, 3)) == [2, 3, 4]
    await member.pause([PartitionId(ground.topic, 0)], True)
    await member.rewind({PartitionId(ground.topic, 0): 1})
    assert not (await member.take(10, 0.3)).records
    await member.pause([PartitionId(ground.topic, 0)], False)
    assert values(await taken(member, 4)) == [1, 2, 3, 4]


async def test_a_rebalance_resumes_paused_partitions(ground: Ground, clients: Clients) -> None:
    writer = await clients.writer()
    first = await clients.member()
    await settled(first, partition_ids=3)
    await first[0].pause(first[1].partition_ids, True)
    second = await clients.member()
    await settled(first, second, partition_ids=3)
    for partition in range(3):
        await write(writer, ground.topic, 1, partition)
    shares = await asyncio.gather(*(taken(member, len(listener.partition_ids)) for member, listener in (first, second)))
    assert sum(map(len, shares)) == 3


async def test_lag_counts_unread_records(ground: Ground, clients: Clients) -> None:
    writer = await clients.writer()
    await write(writer, ground.topic, 5)
    member, _ = await clients.member()
    await taken(member, 2)
    lags = {0: 3, 1: 0, 2: 0}
    assert await member.lag() == {PartitionId(ground.topic, partition): lag for partition, lag in lags.items()}


async def test_a_reader_reads_only_the_partitions_it_seeks(ground: Ground, clients: Clients) -> None:
    writer, reader = await clients.writer(), await clients.reader(ground.topic, ground.other)
    assert not await reader.take(10, 0.2)
    for partition in range(3):
        await write(writer, ground.topic, 5, partition)
    await write(writer, ground.other, 2)
    ends = {PartitionId(ground.topic, partition): 5 for partition in range(3)}
    assert await reader.ends() == {**ends, PartitionId(ground.other, 0): 2}
    await reader.seek({PartitionId(ground.topic, 1): 3, PartitionId(ground.other, 0): 2})
    assert [(r.partition_id.partition, r.offset) for r in await read_all(reader, 2)] == [(1, 3), (1, 4)]
    await write(writer, ground.other, 1, start=7)
    assert values(await read_all(reader, 1)) == [7]
    await reader.seek({PartitionId(ground.topic, 1): 0})
    assert values(await read_all(reader, 5)) == [0, 1, 2, 3, 4]


async def test_a_reader_seeks_to_a_time(ground: Ground, clients: Clients) -> None:
    writer, reader = await clients.writer(), await clients.reader()
    await write(writer, ground.topic, 2, partition=0)
    await asyncio.sleep(0.05)
    since_s = time.time()
    await asyncio.sleep(0.05)
    await write(writer, ground.topic, 2, partition=0, start=10)
    await write(writer, ground.topic, 1, partition=1, start=20)
    assert await reader.seek_to_time(since_s) == {
        PartitionId(ground.topic, 0): 2, PartitionId(ground.topic, 1): 0, PartitionId(ground.topic, 2): 0
    }
    assert sorted(values(await read_all(reader, 3))) == [10, 11, 20]
    await reader.seek_to_time(time.time() + 60)
    assert not await reader.take(10, 0.2)
    await write(writer, ground.topic, 1, partition=2, start=30)
    assert values(await read_all(reader, 1)) == [30]
