"""`deepguard produce` and a third-party client (librdkafka), through Apache Kafka."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from confluent_kafka import Consumer, TopicPartition

from consumers.media_contract import EndOfStream, Media, parse

if TYPE_CHECKING:
    from confluent_kafka import Message

    from tests.kafka.cluster import Cluster

ROOT = Path(__file__).resolve().parents[2]
CLIP = ROOT / "api" / "demo_media" / "sample_call.mp4"
PATIENCE_S = 60


def deepguard(kafka: Cluster, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "api.cli", *map(str, arguments)], cwd=ROOT, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env={"PATH": "/usr/bin:/bin", "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap},
    )


class Listener:
    """Reads all partitions of a topic from the beginning, with librdkafka."""

    def __init__(self, kafka: Cluster, topic: str, partitions: int) -> None:
        self._consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "unused"})
        self._consumer.assign([TopicPartition(topic, p, 0) for p in range(partitions)])

    def next(self) -> Message:
        deadline_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline_s:
            found = self._consumer.poll(1.0)
            if found is not None and found.error() is None:
                return found
        raise AssertionError("nothing came")

    def close(self) -> None:
        self._consumer.close()


def test_records_of_the_command_are_readable_by_another_client(kafka: Cluster) -> None:
    topic = kafka.topic("media", 3)
    command = deepguard(kafka, "produce", CLIP, "--topic", topic, "--as", "segments", "--stream", "call-1")
    out, err = command.communicate(timeout=PATIENCE_S)
    assert command.returncode == 0, err
    records = int(out.split()[1])
    listener = Listener(kafka, topic, 3)
    found = [listener.next() for _ in range(records + 1)]
    listener.close()
    items = [parse(m.key(), m.value(), tuple(m.headers())) for m in found]
    assert [item.identity.sequence for item in items] == list(range(records + 1))
    assert isinstance(items[-1], EndOfStream)
    assert {m.partition() for m in found} == {found[0].partition()}


def test_ctrl_c_ends_the_stream_in_order(kafka: Cluster) -> None:
    topic = kafka.topic("media")
    command = deepguard(kafka, "produce", CLIP, "--topic", topic, "--as", "units", "--realtime", "--loop")
    listener = Listener(kafka, topic, 1)
    first = listener.next()
    command.send_signal(signal.SIGINT)
    out, err = command.communicate(timeout=PATIENCE_S)
    assert command.returncode == 0, err
    assert out.startswith("sample_call: ")
    item = parse(first.key(), first.value(), tuple(first.headers()))
    while isinstance(item, Media):
        found = listener.next()
        item = parse(found.key(), found.value(), tuple(found.headers()))
    listener.close()
    assert isinstance(item, EndOfStream)
    assert item.reason == "stopped"


def test_errors_are_one_line(kafka: Cluster, tmp_path: Path) -> None:
    topic = kafka.topic("media")
    absent = deepguard(kafka, "produce", tmp_path / "absent.mp4", "--topic", topic)
    missing = deepguard(kafka, "produce", CLIP, "--topic", "no-such-topic", "--stream", "a b")
    for command, words in ((absent, "absent.mp4 cannot be read"), (missing, "--stream: expected")):
        _, err = command.communicate(timeout=PATIENCE_S)
        assert command.returncode == 2
        assert words in err
        assert len(err.splitlines()) == 1
