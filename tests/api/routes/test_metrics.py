from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from api.incidents.incident_publisher import WAITING
from api.routes.metrics import consumer_metrics, exposition
from consumers.consumer_health import ConsumerStatus, PartitionStatus
from stream.worker_pool_config import PoolStatus
from tests.api.calls import running_call
from tests.stream.cases import opened_case, over

if TYPE_CHECKING:
    from tests.api.rig import Rig


def figures(text: str) -> dict[str, float]:
    """By name, with the value of the label if there is one."""
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_service_metrics_name_no_stream(rig: Rig) -> None:
    with rig.client() as client:
        idle = figures(client.get("/metrics").text)
        with running_call(rig, "metrics-call"):
            answer = client.get("/metrics")
    busy = figures(answer.text)
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert busy["deepguard_streams"] == idle["deepguard_streams"] + 1
    assert busy["deepguard_events_total"] > idle["deepguard_events_total"]
    assert busy["deepguard_incidents_lost_total"] == 0
    assert busy["deepguard_workers_ready"] == busy["deepguard_workers_wanted"] == 1
    assert "deepguard_frames received" in busy
    assert busy["process_resident_memory_bytes"] > 0
    assert "metrics-call" not in answer.text


def test_a_lost_incident_shows(rig: Rig) -> None:
    """Submits more alarm changes at once than the database queue holds."""
    publisher = rig.context.incidents.publisher
    with rig.client() as client:
        before = figures(client.get("/metrics").text)["deepguard_incidents_lost_total"]

        def flood() -> None:
            for number in range(2 * WAITING):
                publisher.alarm(over(opened_case(f"flood-{number}")))

        rig.call(flood)
        after = figures(client.get("/metrics").text)["deepguard_incidents_lost_total"]
    assert after - before == WAITING


def test_consumer_metrics_are_per_partition() -> None:
    partitions = (PartitionStatus(0, 12, 3, 100), PartitionStatus(4, None, 0, None))
    workers = PoolStatus(ready=1, wanted=2, model=None, evidence=None, problem="", restarts=5, pids=(1,))
    told = figures(bytes(exposition(consumer_metrics(ConsumerStatus((), partitions, 7, 2), workers)).body).decode())
    assert told["deepguard_lag_records 0"] == 12
    assert "deepguard_lag_records 4" not in told
    assert (told["deepguard_held_records 0"], told["deepguard_partitions"]) == (3, 2)
    assert (told["deepguard_dead_letters_total"], told["deepguard_dead_letters_left_out_total"]) == (7, 2)
    assert (told["deepguard_ready"], told["deepguard_worker_restarts_total"]) == (1, 5)
    away = ConsumerStatus(("no_broker",), (), 0, 0)
    assert figures(bytes(exposition(consumer_metrics(away, workers)).body).decode())["deepguard_ready"] == 0
