"""Kafka broker: TLS and logins, killed nodes, restarts."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec
import pytest

from consumers.broker import Message, PartitionId
from consumers.errors import BrokerRefused, BrokerUnreachable
from consumers.kafka.broker import KafkaBroker
from consumers.kafka.config import KafkaConfig, OauthConfig, SaslMechanism, Security
from tests.contracts.groups import PATIENCE_S, RecordingListener, taken
from tests.kafka.cluster import LocalCluster, free_ports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from consumers.broker import Member, Writer

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


async def write_until_taken(writer: Writer, message: Message) -> int:
    async with asyncio.timeout(3 * PATIENCE_S):
        while True:
            try:
                return await writer.write(message)
            except BrokerUnreachable:
                await asyncio.sleep(0.1)


@pytest.mark.parametrize("mechanism", SaslMechanism)
async def test_records_go_through_tls_and_a_login(own_kafka: LocalCluster, mechanism: SaslMechanism) -> None:
    topic = own_kafka.topic("secure")
    broker = KafkaBroker(own_kafka.secure_config(mechanism))
    async with aclosing_all(await broker.writer(), await broker.reader([topic])) as (writer, reader):
        await writer.write(Message(topic, b"k", b"v"))
        await reader.seek({PartitionId(topic, 0): 0})
        assert [r.value for r in await reader.take(1, PATIENCE_S)] == [b"v"]


async def test_a_wrong_password_or_an_expired_token_is_refused(own_kafka: LocalCluster) -> None:
    expired = OauthConfig(provider="tests.kafka.unsigned_token:expired_token")
    for mechanism in SaslMechanism:
        config = msgspec.structs.replace(own_kafka.secure_config(mechanism), password="wrong", oauth=expired)
        with pytest.raises(BrokerUnreachable, match="login"):
            await KafkaBroker(config).writer()


async def test_an_untrusted_certificate_is_refused(own_kafka: LocalCluster, tmp_path: Path) -> None:
    config = msgspec.structs.replace(own_kafka.secure_config(SaslMechanism.PLAIN), ca_file=None)
    with pytest.raises(BrokerUnreachable):
        await KafkaBroker(config).writer()
    with pytest.raises(BrokerRefused, match="certificates"):
        await KafkaBroker(msgspec.structs.replace(config, ca_file=tmp_path / "none.pem")).writer()


async def test_a_missing_broker_is_reported_soon() -> None:
    port = free_ports(1)[0].plain
    broker = KafkaBroker(KafkaConfig(bootstrap=f"127.0.0.1:{port}", request_timeout_s=2, security=Security.PLAINTEXT))
    for connecting in (broker.writer(), broker.reader(["t"]), broker.member("g", ["t"], RecordingListener())):
        with pytest.raises(BrokerUnreachable):
            await connecting


async def test_a_killed_broker_loses_nothing_and_clients_reconnect(own_kafka: LocalCluster) -> None:
    topic = own_kafka.topic("killed")
    broker = KafkaBroker(own_kafka.config(request_timeout_s=3.0))
    member = await broker.member("survivors", [topic], RecordingListener())
    async with aclosing_all(await broker.writer(), member) as (writer, _):
        await asyncio.gather(*(writer.write(Message(topic, b"k", b"%d" % n)) for n in range(20)))
        first = await taken(member, 20)
        batch = await member.take(1, 0.1)
        await member.commit({PartitionId(topic, 0): 5}, batch.generation)
        own_kafka.nodes[0].kill()
        with pytest.raises(BrokerUnreachable):
            await writer.write(Message(topic, b"k", b"lost?"))
        with pytest.raises(BrokerUnreachable):
            await member.lag()
        assert not (await member.take(1, 0.2)).records
        await asyncio.to_thread(own_kafka.start)
        await write_until_taken(writer, Message(topic, b"k", b"after"))
        assert [r.value for r in first] == [b"%d" % n for n in range(20)]
        await _until(member, b"after")
    again = await broker.member("survivors", [topic], RecordingListener())
    async with aclosing_all(again):
        assert (await taken(again, 1))[0].offset == 5


@pytest.mark.parametrize("kind", ["reader", "member"])
async def test_close_completes_while_a_fetch_waits_for_a_retry(
    own_kafka: LocalCluster, kind: str
) -> None:
    """The leaked-task guard of the test suite checks the rest."""
    topic = own_kafka.topic("closing")
    broker = KafkaBroker(own_kafka.config())
    member = broker.member("closing", [topic], RecordingListener()) if kind == "member" else None
    client = await (member or broker.reader([topic]))
    assert await client.take(1, 0.5) is not None
    waiting = asyncio.create_task(asyncio.sleep(3600))
    client._consumer._fetcher._pending_tasks.add(waiting)
    await asyncio.sleep(0)
    await client.close()
    assert waiting.cancelled()


async def test_three_nodes_survive_the_loss_of_one(tmp_path: Path) -> None:
    cluster = LocalCluster(tmp_path, size=3)
    try:
        await asyncio.to_thread(cluster.start)
        topic = await asyncio.to_thread(cluster.topic, "three", 3)
        broker = KafkaBroker(cluster.config())
        async with aclosing_all(await broker.writer(), await broker.reader([topic])) as (writer, reader):
            for partition in range(3):
                await writer.write(Message(topic, b"k", b"before", partition=partition))
            cluster.nodes[1].kill()
            for partition in range(3):      # the lost node led one of them
                await write_until_taken(writer, Message(topic, b"k", b"after", partition=partition))
            await reader.seek({PartitionId(topic, partition): 0 for partition in range(3)})
            found = {partition: set() for partition in range(3)}
            async with asyncio.timeout(PATIENCE_S):
                while any(values != {b"before", b"after"} for values in found.values()):
                    for record in await reader.take(100, 0.5):
                        found[record.partition_id.partition].add(record.value)
    finally:
        cluster.stop()


async def _until(member: Member, value: bytes) -> None:
    async with asyncio.timeout(2 * PATIENCE_S):
        while True:
            if any(record.value == value for record in (await member.take(100, 0.5)).records):
                return


@asynccontextmanager
async def aclosing_all(*clients: object) -> AsyncIterator[tuple[object, ...]]:
    try:
        yield clients
    finally:
        for client in clients:
            await client.close()
