"""One node of Apache Kafka (KRaft, combined broker and controller) as a process on loopback."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = ROOT / "build" / "kafka" / "lib"
CLUSTER_ID = "DeepGuardForTests00000"      # a UUID in base64, 22 characters
USER, PASSWORD = "deepguard", "not-a-secret"
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")

_JVM = (
    "java", "-Xms64m", "-Xmx320m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", f"{LIBRARIES}/*",
)
_STOP_S = 30


class Ports(NamedTuple):
    """Loopback ports of one node, the same for its whole life."""

    plain: int
    secure: int
    controller: int


class KafkaNode:
    """A Kafka node that keeps its data across restarts. `quorum` lists the ports of all nodes, in order."""

    def __init__(self, folder: Path, number: int, quorum: Sequence[Ports], certificate: Path) -> None:
        self.folder = folder
        self.ports = quorum[number - 1]
        self._config = folder / "server.properties"
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir()
        self._config.write_text(_properties(folder, number, quorum, certificate))

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Starts the process and returns at once; the node is ready seconds later."""
        if not (self.folder / "data" / "meta.properties").exists():
            self._format()
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen([*_JVM, "kafka.Kafka", self._config], stdout=log, stderr=log)

    def kill(self) -> None:
        """Kills the process, as a power cut would, except that the page cache survives."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Stops the node cleanly; kills it after `_STOP_S` seconds."""
        self._end(signal.SIGTERM)

    def _format(self) -> None:
        users = [f"--add-scram={name}=[name={USER},password={PASSWORD}]" for name in MECHANISMS if "SCRAM" in name]
        command = [*_JVM, "kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", self._config, *users]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(number)
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


def _properties(folder: Path, number: int, quorum: Sequence[Ports], certificate: Path) -> str:
    ports = quorum[number - 1]
    replicas = min(3, len(quorum))
    names = ",".join(MECHANISMS)
    voters = ",".join(f"{n}@127.0.0.1:{p.controller}" for n, p in enumerate(quorum, 1))
    listeners = f"PLAINTEXT://127.0.0.1:{ports.plain},SECURE://127.0.0.1:{ports.secure}"
    modules = "org.apache.kafka.common.security"
    return f"""
process.roles=broker,controller
node.id={number}
controller.quorum.voters={voters}
controller.listener.names=CONTROLLER
listeners={listeners},CONTROLLER://127.0.0.1:{ports.controller}
advertised.listeners={listeners}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SECURE:SASL_SSL,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
ssl.keystore.type=PEM
ssl.keystore.location={certificate}
sasl.enabled.mechanisms={names}
listener.name.secure.plain.sasl.jaas.config={modules}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";
listener.name.secure.scram-sha-256.sasl.jaas.config={modules}.scram.ScramLoginModule required;
listener.name.secure.scram-sha-512.sasl.jaas.config={modules}.scram.ScramLoginModule required;
listener.name.secure.oauthbearer.sasl.jaas.config={modules}.oauthbearer.OAuthBearerLoginModule required \\
    unsecuredLoginStringClaim_sub="{USER}";
log.dirs={folder / "data"}
log.index.size.max.bytes=1048576
log.cleaner.dedupe.buffer.size=8388608
default.replication.factor={replicas}
min.insync.replicas={(replicas + 1) // 2}
offsets.topic.replication.factor={replicas}
offsets.topic.num.partitions=4
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
message.max.bytes=16777216
replica.fetch.max.bytes=16777216
auto.create.topics.enable=false
num.network.threads=1
num.io.threads=2
"""
