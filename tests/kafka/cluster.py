"""Kafka cluster for tests: local nodes, or the cluster in `KAFKA_BOOTSTRAP_SERVERS`."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from consumers.kafka.config import KafkaConfig, OauthConfig, Security
from tests.kafka.certificates import write_certificate
from tests.kafka.node import LIBRARIES, PASSWORD, ROOT, USER, KafkaNode, Ports

if TYPE_CHECKING:
    from pathlib import Path

    from consumers.kafka.config import SaslMechanism

READY_S = 120
RECORD_BYTES = 8 * 2**20


class Cluster:
    """A cluster to connect to, and its topics."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap

    def config(self, **changes: object) -> KafkaConfig:
        """Returns a client config with short timeouts, so that failures show within seconds."""
        limits = {"session_timeout_s": 6.0, "rebalance_timeout_s": 10.0, "request_timeout_s": 10.0}
        return KafkaConfig(**{"bootstrap": self.bootstrap, "record_bytes": RECORD_BYTES} | limits | changes)

    def topic(self, name: str, partitions: int = 1, **config: str) -> str:
        """Creates a topic with a unique name that starts with `name`; returns the name."""
        full = f"{name}-{secrets.token_hex(4)}"
        self.create(full, partitions, **config)
        return full

    def create(self, name: str, partitions: int, **config: str) -> None:
        """Creates a topic for 8 MiB records and waits for its leaders; `config` as in `cleanup_policy="compact"`."""
        settings = {key.replace("_", "."): value for key, value in config.items()}
        topic = NewTopic(name, partitions, config={"max.message.bytes": str(RECORD_BYTES + 65536)} | settings)
        admin = self._admin()
        for made in admin.create_topics([topic], operation_timeout=30).values():
            made.result(timeout=60)
        deadline_s = time.monotonic() + READY_S
        while any(p.leader < 0 for p in _partitions(admin, name)) or len(_partitions(admin, name)) < partitions:
            assert time.monotonic() < deadline_s, f"{name} got no leaders"
            time.sleep(0.05)

    def wait_ready(self, brokers: int = 1) -> None:
        """Waits until this many brokers answer."""
        deadline_s = time.monotonic() + READY_S
        while True:
            try:
                if len(self._admin().list_topics(timeout=5).brokers) >= brokers:
                    return
            except KafkaException:
                pass
            assert time.monotonic() < deadline_s, "Kafka did not start"
            time.sleep(0.1)

    def _admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})


class LocalCluster(Cluster):
    """Local nodes, which tests may kill. `secure` lists the ports that require TLS and a login."""

    def __init__(self, folder: Path, size: int = 1, ports: list[Ports] | None = None) -> None:
        self.ca_file, certificate = write_certificate(folder)
        quorum = ports or free_ports(size)
        self.nodes = [KafkaNode(folder / f"node-{n}", n, quorum, certificate) for n in range(1, len(quorum) + 1)]
        super().__init__(",".join(f"127.0.0.1:{ports.plain}" for ports in quorum))
        self.secure = ",".join(f"127.0.0.1:{ports.secure}" for ports in quorum)

    def secure_config(self, mechanism: SaslMechanism) -> KafkaConfig:
        return self.config(
            bootstrap=self.secure, security=Security.SASL_SSL, ca_file=self.ca_file, mechanism=mechanism,
            username=USER, password=PASSWORD, oauth=OauthConfig(provider="tests.kafka.unsigned_token:valid_token"),
        )

    def start(self) -> None:
        """Starts all nodes and waits until they answer."""
        fetch_kafka()
        for node in self.nodes:
            node.start()
        self.wait_ready(len(self.nodes))

    def stop(self) -> None:
        for node in self.nodes:
            node.kill()     # faster than a clean stop; the data is discarded


def fetch_kafka() -> None:
    """Downloads Apache Kafka, once per checkout."""
    subprocess.run(["make", "-s", "kafka"], cwd=ROOT, check=True, timeout=600)
    assert LIBRARIES.is_dir()


def external_cluster() -> Cluster | None:
    """Returns the cluster in `KAFKA_BOOTSTRAP_SERVERS`, or None."""
    bootstrap = os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "")
    return Cluster(bootstrap) if bootstrap else None


def free_ports(nodes: int) -> list[Ports]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(3 * nodes)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        numbers = [each.getsockname()[1] for each in sockets]
    return [Ports(*numbers[at : at + 3]) for at in range(0, len(numbers), 3)]


def _partitions(admin: AdminClient, name: str) -> list[object]:
    return list(admin.list_topics(name, timeout=10).topics[name].partitions.values())
