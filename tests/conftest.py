"""Guards that hold in every test: no leaked tasks, bounded property tests, one mark per folder."""

from __future__ import annotations

import asyncio
import inspect
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests.kafka.cluster import LocalCluster, external_cluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.kafka.cluster import Cluster

settings.register_profile(
    "bounded", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("bounded")

E2E_TIMEOUT_S = 300


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything under tests/e2e is an end-to-end test, with time for real processes to start."""
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.function):
            item.fixturenames.insert(0, "no_leaked_tasks")
        if "e2e" in Path(item.path).parts:
            item.add_marker(pytest.mark.e2e)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(E2E_TIMEOUT_S))


@pytest.fixture(autouse=True)
def no_foreign_settings(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The settings of whoever runs the tests must not leak into the service under test, nor its incidents into the
    database of whoever runs them."""
    for name in os.environ:
        if name.startswith("DEEPGUARD_") and not name.startswith("DEEPGUARD_TEST_"):
            monkeypatch.delenv(name)
    folder = tmp_path_factory.getbasetemp() / "data"
    monkeypatch.setenv("DEEPGUARD_DATABASE_URL", f"sqlite:///{folder}/incidents.sqlite")


@pytest.fixture(autouse=True)
def no_priority_left_behind() -> Iterator[None]:
    """A codec that makes its thread real-time would have every later test run on starved or privileged processes."""
    yield
    if hasattr(os, "sched_getscheduler"):
        assert os.sched_getscheduler(0) not in (os.SCHED_FIFO, os.SCHED_RR)


@pytest.fixture
async def no_leaked_tasks() -> AsyncIterator[None]:
    """An async test that leaves tasks running in its loop fails. Requested for every async test at collection."""
    before = asyncio.all_tasks()
    yield
    await asyncio.sleep(0)
    leaked = [task for task in asyncio.all_tasks() - before - {asyncio.current_task()} if not task.done()]
    assert not leaked, f"tasks left running: {[task.get_name() for task in leaked]}"


@pytest.fixture(scope="session")
def own_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Apache Kafka, one node, whose processes a test may kill if it starts them again."""
    cluster = LocalCluster(tmp_path_factory.mktemp("kafka"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest) -> Cluster:
    """Apache Kafka: the one that KAFKA_BOOTSTRAP_SERVERS names, or `own_kafka`."""
    foreign = external_cluster()
    return foreign if foreign is not None else request.getfixturevalue("own_kafka")
