"""A batch damaged on the broker's disk loses only its own records."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.errors import KafkaError
from aiokafka.record import default_records

from consumers.broker import Message, PartitionId
from consumers.dead_letters import Cause, dead_letter
from consumers.kafka.aiokafka_patches import AiokafkaRecords, TolerantRecords
from consumers.kafka.broker import KafkaBroker
from consumers.kafka.connection import connection_options, fetch_options
from tests.contracts.groups import RecordingListener

if TYPE_CHECKING:
    from consumers.broker import Record
    from tests.kafka.cluster import LocalCluster

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

HEALTHY, RECORDS = range(1, 6), 40
_HEADER_BYTES = 61      # of a record batch, format v2


async def damaged_topic(cluster: LocalCluster, compression: str = "none") -> str:
    """A topic of six partitions with 40 records each, one by one; the third batch of partition 0 is damaged on disk."""
    topic = cluster.topic("damaged", 6, compression_type="producer" if compression == "none" else compression)
    writer = await KafkaBroker(cluster.config()).writer()
    try:
        for number in range(RECORDS):
            value = b"%04d" % number * 50
            await asyncio.gather(*(writer.write(Message(topic, None, value, (), part)) for part in (0, *HEALTHY)))
    finally:
        await writer.close()
    (log,) = (cluster.nodes[0].folder / "data" / f"{topic}-0").glob("*.log")
    data = bytearray(log.read_bytes())
    start = 0
    for _ in range(2):
        start += 12 + int.from_bytes(data[start + 8 : start + 12], "big")
    with log.open("r+b") as file:
        file.seek(start + _HEADER_BYTES + 4)
        file.write(b"\xff" * 8)
    return topic


async def read_all(cluster: LocalCluster, topic: str) -> list[Record]:
    """Returns the records that a group member takes until none is left."""
    member = await KafkaBroker(cluster.config()).member(f"g-{topic}", [topic], RecordingListener())
    found: list[Record] = []
    try:
        async with asyncio.timeout(60):
            while len(found) < 6 * RECORDS:
                found += (await member.take(500, 1.0)).records
    finally:
        await member.close()
    return found


@pytest.mark.parametrize("compression", ["none", "snappy", "lz4", "zstd", "gzip"])
async def test_the_partition_continues_after_the_batch_and_others_lose_nothing(
    own_kafka: LocalCluster, compression: str
) -> None:
    topic = await damaged_topic(own_kafka, compression)
    found = await read_all(own_kafka, topic)
    for partition in HEALTHY:
        values = [record.value for record in found if record.partition_id == PartitionId(topic, partition)]
        assert values == [b"%04d" % number * 50 for number in range(RECORDS)]
    faulty = [record for record in found if record.partition_id == PartitionId(topic, 0)]
    assert [record.offset for record in faulty] == list(range(RECORDS))
    (bad,) = [record for record in faulty if record.unreadable is not None]
    assert (bad.offset, bad.next_offset, bad.key, bad.value) == (2, 3, None, None)
    letter = dead_letter("media.dlq", "g", bad, Cause("read", "unreadable_batch", "why"))
    assert dict(letter.headers)["dlq.last_offset"] == b"2"


async def test_unpatched_aiokafka_loses_records_of_other_partitions(
    own_kafka: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control: unpatched aiokafka, with its error caught and reading continued."""
    topic = await damaged_topic(own_kafka)
    monkeypatch.setattr(fetcher, "PartitionRecords", AiokafkaRecords)
    consumer = AIOKafkaConsumer(**connection_options(own_kafka.config()), **fetch_options(own_kafka.config()))
    await consumer.start()
    found: set[tuple[int, int]] = set()
    try:
        consumer.assign([TopicPartition(topic, partition) for partition in (*HEALTHY, 0)])
        for _ in range(30):
            await asyncio.sleep(0.1)
            try:
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    found |= {(record.partition, record.offset) for record in records}
            except KafkaError:
                continue
    finally:
        await consumer.stop()
    assert max((offset for partition, offset in found if partition == 0), default=-1) < 2
    assert len([at for at in found if at[0] in HEALTHY]) < len(HEALTHY) * RECORDS


def test_aiokafka_still_has_the_patched_parts() -> None:
    assert fetcher.PartitionRecords is TolerantRecords
    assert issubclass(TolerantRecords, AiokafkaRecords)
    for name in ("_unpack_records", "_consumer_record"):
        assert callable(getattr(AiokafkaRecords, name))
    for name in ("next_offset", "is_control_batch", "validate_crc"):
        assert hasattr(default_records.DefaultRecordBatch, name)
