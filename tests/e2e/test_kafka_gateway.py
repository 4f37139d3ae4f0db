"""A third-party client writes media by the documented contract; two consumers analyze it, one of them is killed; a
WebSocket client at a gateway sees every verdict once, and the foreign client reads the same ones from the topic.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from websockets.sync.client import connect

from tests.api.rig import running_rig
from tests.consumers.media import face_picture
from tests.e2e.kafka_support import Course, Member

if TYPE_CHECKING:
    from collections.abc import Iterator

    from websockets.sync.client import ClientConnection

    from tests.api.rig import Rig
    from tests.kafka.cluster import Cluster

CLIP = Path(__file__).resolve().parents[2] / "api" / "demo_media" / "sample_call.mp4"
PARTITIONS = 3
FRAMES, FPS = 40, 2
STREAMS = {"foreign-1": "obama", "foreign-2": "biden"}
PATIENCE_S = 120


@pytest.fixture
def course(kafka: Cluster) -> Course:
    return Course.on(kafka, PARTITIONS)


@pytest.fixture
def gateway(course: Course) -> Iterator[Rig]:
    topics = course.topics
    with running_rig(
        verdicts="kafka", kafka_bootstrap=course.cluster.bootstrap, kafka_verdicts_topic=topics.verdicts,
        kafka_state_topic=topics.states,
    ) as rig:
        yield rig


@pytest.fixture
def consumers(course: Course, tmp_path: Path) -> Iterator[list[Member]]:
    members = [Member(course, name, tmp_path) for name in ("one", "two")]
    try:
        for member in members:
            member.start()
        yield members
    finally:
        for member in members:
            member.end()


def headers(stream: str, epoch: int, sequence: int, **more: str) -> list[tuple[str, str]]:
    """A record as docs/contracts/kafka.md specifies, built by hand."""
    common = {
        "ce_specversion": "1.0", "ce_source": "/ingest/foreign", "ce_id": f"{stream}/{epoch}/{sequence}",
        "ce_time": datetime.now(UTC).isoformat(), "ce_partitionkey": stream, "ce_streamepoch": str(epoch),
        "ce_sequence": str(sequence),
    }
    named = {key.replace("content_type", "content-type"): value for key, value in more.items()}
    return list((common | named).items())


def publish(course: Course, epoch: int) -> None:
    producer = Producer({
        "bootstrap.servers": course.cluster.bootstrap, "partitioner": "murmur2_random", "acks": "all",
    })
    topic = course.topics.media
    for n in range(FRAMES):
        for stream, person in STREAMS.items():
            frame = headers(
                stream, epoch, n, ce_type="org.deepguard.media.frame", content_type="image/jpeg",
                ce_pts=str(n * 1000 // FPS), ce_timebase="1/1000",
            )
            producer.produce(topic, key=stream, value=face_picture(person, n), headers=frame)
    for stream in STREAMS:
        end = headers(stream, epoch, FRAMES, ce_type="org.deepguard.media.eos", content_type="application/json")
        producer.produce(topic, key=stream, value=b'{"reason": "end_of_media"}', headers=end)
    assert producer.flush(60) == 0


def read_verdicts(course: Course, count: int) -> dict[str, dict[str, Any]]:
    """By id, as the foreign client finds them."""
    consumer = Consumer({"bootstrap.servers": course.cluster.bootstrap, "group.id": "unused"})
    consumer.assign([TopicPartition(course.topics.verdicts, p, 0) for p in range(PARTITIONS)])
    found: dict[str, dict[str, Any]] = {}
    deadline_s = time.monotonic() + PATIENCE_S
    while len(found) < count and time.monotonic() < deadline_s:
        message = consumer.poll(1.0)
        if message is not None and message.error() is None:
            told = dict(message.headers())
            verdict = json.loads(message.value())
            assert told["ce_type"] == b"org.deepguard.verdict"
            assert told["ce_id"].decode() == verdict["id"]
            assert message.key().decode() == verdict["stream"]
            found[verdict["id"]] = verdict
    consumer.close()
    return found


def events_until(websocket: ClientConnection, ends: int) -> Iterator[dict[str, Any]]:
    """Events as they come, until so many streams have ended."""
    deadline_s = time.monotonic() + PATIENCE_S
    while ends:
        message = json.loads(websocket.recv(timeout=deadline_s - time.monotonic()))
        if message["type"] == "event":
            yield message["event"]
            ends -= message["event"]["type"] == "stream.ended"


def test_media_from_another_producer_reaches_a_gateway_as_verdicts(
    course: Course, gateway: Rig, consumers: list[Member]
) -> None:
    with connect(gateway.ws_url, subprotocols=["deepguard.v1"], proxy=None) as websocket:
        websocket.send(json.dumps({"type": "subscribe", "stream": "*"}))
        publish(course, epoch=int(time.time()))
        told: list[dict[str, Any]] = []
        for event in events_until(websocket, len(STREAMS)):
            told.append(event)
            if sum(e["type"] == "verdict" for e in told) == 10:
                consumers[0].kill()
                consumers[0].start()
    for stream in STREAMS:
        kinds = [e["type"] for e in told if e["stream"] == stream]
        assert kinds == ["stream.started", *["verdict"] * (len(kinds) - 2), "stream.ended"]
        rows = [e["sequence"] for e in told if e["stream"] == stream and e["type"] == "verdict"]
        assert rows == list(range(rows[0], rows[0] + len(rows)))
        assert len(rows) >= (FRAMES / FPS - 4) * 2
    seen = {e["id"]: e for e in told if e["type"] == "verdict"}
    assert read_verdicts(course, len(seen)).keys() == seen.keys()
    assert all(len(verdict["faces"]) == 1 for verdict in seen.values())


def test_a_call_at_an_edge_is_analyzed_by_consumers_and_shown_at_the_edge(course: Course, tmp_path: Path) -> None:
    """WHIP in, Kafka, a consumer that is replaced in the middle of the call, and back by WebSocket."""
    topics = course.topics
    consumer = Member(course, "one", tmp_path)
    with running_rig(
        detect="kafka", verdicts="kafka", kafka_bootstrap=course.cluster.bootstrap, kafka_media_topic=topics.media,
        kafka_verdicts_topic=topics.verdicts, kafka_state_topic=topics.states,
    ) as rig, connect(rig.ws_url, subprotocols=["deepguard.v1"], proxy=None) as websocket:
        consumer.start()
        websocket.send(json.dumps({"type": "subscribe", "stream": "*"}))
        publisher = subprocess.Popen(
            [sys.executable, "-m", "api.cli", "publish", str(CLIP), f"{rig.url}/whip/edge-1", "--seconds", "14"]
        )
        try:
            told: list[dict[str, Any]] = []
            for event in events_until(websocket, 1):
                told.append(event)
                if sum(e["type"] == "verdict" for e in told) == 4:
                    consumer.kill()
                    consumer.start()
        finally:
            consumer.end()
            publisher.kill()
            publisher.wait()
    kinds = [e["type"] for e in told if e["type"] != "stream.gap"]
    assert kinds == ["stream.started", *["verdict"] * (len(kinds) - 2), "stream.ended"]
    rows = [e["sequence"] for e in told if e["type"] == "verdict"]
    assert rows == list(range(rows[0], rows[0] + len(rows)))
    assert len(rows) >= 10
    assert any(e["faces"] for e in told if e["type"] == "verdict")
    assert told[0]["source"] == "kafka"


def test_the_gateway_is_ready_with_a_broker(gateway: Rig) -> None:
    """As soon as it has answered once."""
    deadline_s = time.monotonic() + PATIENCE_S
    with gateway.client() as client:
        while (answer := client.get("/readyz")).status_code != 200:
            assert answer.json()["reasons"] == ["no_broker"]
            assert time.monotonic() < deadline_s
            time.sleep(0.1)


def test_a_gateway_without_its_broker_is_not_ready_but_keeps_serving() -> None:
    with running_rig(verdicts="kafka", kafka_bootstrap="127.0.0.1:9") as rig, rig.client() as client:
        answer = client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["reasons"] == ["no_broker"]
        assert client.get("/health").status_code == 200
