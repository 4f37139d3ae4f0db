"""Fixture `ground`: the in-memory broker and Kafka behind one interface."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

from consumers.kafka.broker import KafkaBroker
from tests.memory_broker.broker import MemoryBroker

if TYPE_CHECKING:
    from collections.abc import Callable

    from consumers.broker import Broker
    from tests.kafka.cluster import Cluster

RECORD_BYTES = 256 * 1024


class Ground:
    """A broker with two topics of its own: `topic` with three partitions, `other` with one."""

    def __init__(self, connect: Callable[[], Broker], topic: str, other: str) -> None:
        self.connect = connect
        self.topic = topic
        self.other = other
        self.group = f"group-{secrets.token_hex(4)}"


@pytest.fixture(params=["memory", pytest.param("kafka", marks=[pytest.mark.e2e, pytest.mark.timeout(180)])])
def ground(request: pytest.FixtureRequest) -> Ground:
    """For Kafka, each `connect()` is a separate client, as in another process."""
    if request.param == "memory":
        broker = MemoryBroker({"laws": 3, "others": 1}, record_bytes=RECORD_BYTES)
        return Ground(lambda: broker, "laws", "others")
    cluster: Cluster = request.getfixturevalue("kafka")
    config = cluster.config(record_bytes=RECORD_BYTES, request_timeout_s=5.0)
    return Ground(lambda: KafkaBroker(config), cluster.topic("laws", 3), cluster.topic("others", 1))
