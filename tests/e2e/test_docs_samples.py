"""The samples of `docs/integrate.md` run unchanged, against a real service, a real call and Apache Kafka."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

import httpx
import pytest
from confluent_kafka import Producer
from playwright.sync_api import sync_playwright

from consumers.verdict_records import verdict_message
from tests.consumers.verdicts_support import verdict
from tests.e2e.browser_support import ROOT, free_port, published, running_chromium, running_service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.browser_support import Service
    from tests.kafka.cluster import Cluster

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwAAAAAAAAAAA="
LABELS = {"REAL", "FAKE", "UNCERTAIN", "NO_FACE"}
STREAM = "my-call"
DEFAULT_URL = "ws://127.0.0.1:5000/ws"
ALARM_S = 120.0


@cache
def samples() -> dict[str, str]:
    page = (ROOT / "docs" / "integrate.md").read_text()
    return dict(re.findall(r"<!-- sample: (\S+) -->\n```\w+\n(.*?)```", page, re.S))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    for name, text in samples().items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def receiver_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def service(folder: Path, receiver_port: int) -> Iterator[Service]:
    settings = {
        "DEEPGUARD_WEBHOOK_URLS": f"http://127.0.0.1:{receiver_port}/",
        "DEEPGUARD_WEBHOOK_SECRETS": SECRET,
        "DEEPGUARD_WEBHOOK_PRIVATE": "1",
        "DEEPGUARD_DATABASE_URL": f"sqlite:///{folder}/incidents.sqlite",
    }
    with running_service(folder / "service.log", **settings) as service, published(service, STREAM, sample=False):
        yield service


@contextmanager
def running_sample(folder: Path, name: str, *arguments: str) -> Iterator[Iterator[str]]:
    """The lines that the sample prints."""
    process = subprocess.Popen(
        [sys.executable, str(folder / name), *arguments], cwd=folder, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "WEBHOOK_SECRET": SECRET},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        yield iter(process.stdout.readline, "")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_the_page_has_the_samples() -> None:
    assert set(samples()) == {"watch_verdicts.py", "watch_verdicts.js", "receive_webhooks.py", "read_kafka.py"}


def test_python_reads_verdicts(service: Service, folder: Path) -> None:
    url = service.url.replace("http", "ws", 1) + "/ws"
    with running_sample(folder, "watch_verdicts.py", url) as lines:
        seen = [next(lines).split() for _ in range(3)]
    assert {line[0] for line in seen} == {STREAM}
    assert {line[2] for line in seen} <= LABELS
    ends = [float(line[1]) for line in seen]
    assert ends == sorted(set(ends))


def test_python_reads_verdicts_from_kafka_without_repeats(kafka: Cluster, folder: Path) -> None:
    topic = kafka.topic("verdicts")
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for sequence in (1, 2, 1, 3, 3, 4):
        message = verdict_message(topic, 0, verdict(STREAM, sequence))
        producer.produce(topic, message.value, message.key, partition=0)
    assert producer.flush(30) == 0
    with running_sample(folder, "read_kafka.py", kafka.bootstrap, topic) as lines:
        seen = [next(lines).split() for _ in range(4)]
    assert {(line[0], line[2]) for line in seen} == {(STREAM, verdict(STREAM, 1).label.value)}
    assert [float(line[1]) for line in seen] == [verdict(STREAM, sequence).end_s for sequence in (1, 2, 3, 4)]


def test_javascript_reads_verdicts_in_a_browser(service: Service) -> None:
    script = samples()["watch_verdicts.js"]
    url = service.url.replace("http", "ws", 1) + "/ws"
    assert DEFAULT_URL in script
    with sync_playwright() as playwright, running_chromium(playwright, camera=None) as browser:
        page = browser.new_page()
        page.goto(service.url)
        with page.expect_console_message(lambda message: message.text.startswith(f"{STREAM} ")) as printed:
            page.evaluate(f"() => {{ {script.replace(DEFAULT_URL, url)} }}")
        assert printed.value.text.split()[2] in LABELS


@pytest.mark.timeout(ALARM_S + 120)
def test_the_receiver_prints_the_alarm(service: Service, folder: Path, receiver_port: int) -> None:
    """The sample call loops, so an alarm opens or closes within its length. Undelivered messages are sent again."""
    with running_sample(folder, "receive_webhooks.py", str(receiver_port)) as lines:
        kind, stream, incident = next(lines).split()
        assert stream == STREAM
        assert kind in {"incident.opened", "incident.closed"}
        listed = service.get("/v1/incidents")["incidents"]
        assert incident in {entry["id"] for entry in listed}
        forged = httpx.post(f"http://127.0.0.1:{receiver_port}/", content=b"{}", trust_env=False)
        assert forged.status_code == 401
