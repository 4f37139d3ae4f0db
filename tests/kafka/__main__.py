"""`make broker`: runs Apache Kafka on loopback until Ctrl-C and keeps no data."""

from __future__ import annotations

import signal
import sys
import tempfile
from pathlib import Path

from tests.kafka.cluster import LocalCluster
from tests.kafka.node import Ports

PORTS = Ports(plain=9092, secure=9094, controller=9093)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        cluster = LocalCluster(Path(folder), ports=[PORTS])
        try:
            cluster.start()
            sys.stdout.write(f"export KAFKA_BOOTSTRAP_SERVERS={cluster.bootstrap}\n")
            sys.stdout.flush()
            signal.sigwait((signal.SIGINT, signal.SIGTERM))
        finally:
            cluster.stop()


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    main()
