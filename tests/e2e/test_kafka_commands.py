"""`deepguard topics` and `deepguard bench kafka` on Apache Kafka."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource

from tests.kafka.node import PASSWORD, USER

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kafka.cluster import Cluster, LocalCluster


def deepguard(kafka: Cluster, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "api.cli", *arguments], capture_output=True, text=True, timeout=200,
        env=os.environ | {"KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap} | settings,
    )


def test_topics_are_made_once_as_they_are_needed(kafka: Cluster) -> None:
    mark = secrets.token_hex(4)
    names = {kind: f"{kind}-{mark}" for kind in ("media", "verdicts", "state", "dlq")}
    settings = {f"DEEPGUARD_KAFKA_{kind.upper()}_TOPIC": name for kind, name in names.items()}
    assert "missing topics: " in deepguard(kafka, "doctor", **settings).stdout
    first = deepguard(kafka, "topics", "--partitions", "4", **settings)
    assert first.stdout.splitlines() == [f"{name}: created" for name in names.values()], first.stderr
    again = deepguard(kafka, "topics", "--partitions", "9", **settings)
    assert again.stdout.splitlines() == [f"{name}: exists" for name in names.values()]
    healthy = deepguard(kafka, "doctor", **settings)
    assert (healthy.returncode, "all topics" in healthy.stdout) == (0, True), healthy.stdout
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    listed = admin.list_topics(timeout=20).topics
    assert {len(listed[name].partitions) for name in names.values()} == {4}
    (found,) = admin.describe_configs([ConfigResource("topic", names["state"])]).values()
    assert found.result(20)["cleanup.policy"].value == "compact,delete"
    (found,) = admin.describe_configs([ConfigResource("topic", names["media"])]).values()
    assert int(found.result(20)["max.message.bytes"].value) > 8 * 2**20


def test_a_wrong_password_for_the_broker_is_found_out(own_kafka: LocalCluster) -> None:
    login = {
        "KAFKA_BOOTSTRAP_SERVERS": own_kafka.secure, "DEEPGUARD_KAFKA_SECURITY": "SASL_SSL",
        "DEEPGUARD_KAFKA_CA_FILE": str(own_kafka.ca_file), "DEEPGUARD_KAFKA_USERNAME": USER,
    }
    right = deepguard(own_kafka, "doctor", **login, DEEPGUARD_KAFKA_PASSWORD=PASSWORD)
    assert right.returncode == 0, right.stdout
    wrong = deepguard(own_kafka, "doctor", **login, DEEPGUARD_KAFKA_PASSWORD="wrong-one")
    assert wrong.returncode == 1
    assert "a server listens" in wrong.stdout
    assert "login" in wrong.stdout
    assert "wrong-one" not in wrong.stdout + wrong.stderr


@pytest.mark.timeout(240)
def test_the_bench_measures_both_ways_on_the_same_records(kafka: Cluster, tmp_path: Path) -> None:
    result = tmp_path / "kafka.json"
    done = deepguard(
        kafka, "bench", "kafka", "--streams", "2", "--seconds", "6", "--naive-seconds", "1", "--json", str(result)
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(result.read_text())
    assert figures["ours"]["records_per_s"] > 0
    assert 0 < figures["ours"]["overhead"] < 1
    assert figures["naive"]["streams_per_core"] > 0
    assert "deepguard consume" in done.stdout
