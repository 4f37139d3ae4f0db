"""SIGKILL at the moment an alarm is published: the incident is stored once, and its webhook is sent."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.api.incidents.alarmed_service import STREAM
from tests.api.incidents.receiver import SECRET, receiving
from tests.api.rig import running_rig
from tests.api.routes.test_files import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

ROUNDS = 2
PATIENCE_S = 60.0       # a message that was in a dead process's hands is taken up after 20 s


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def alarming(database_url: str, hook: str) -> Iterator[subprocess.Popen[str]]:
    environment = {
        **os.environ, "PORT": "0", "HOST": "127.0.0.1", "LOG_DIR": "", "LOG_LEVEL": "ERROR", "DEEPGUARD_WORKERS": "1",
        "DEEPGUARD_DATABASE_URL": database_url, "DEEPGUARD_WEBHOOK_URLS": hook, "DEEPGUARD_WEBHOOK_SECRETS": SECRET,
        "DEEPGUARD_WEBHOOK_PRIVATE": "1",
    }
    command = [sys.executable, "-m", "tests.api.incidents.alarmed_service"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def killed_at_its_alarm(database_url: str, hook: str) -> str:
    """The id of the verdict that opened the alarm."""
    with alarming(database_url, hook) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(f"{STREAM}/"):
                os.kill(process.pid, signal.SIGKILL)
                return line.strip()
        raise AssertionError("it ended without an alarm")


def listed(client: httpx.Client) -> list[dict[str, Any]]:
    incidents: list[dict[str, Any]] = client.get("/v1/incidents").json()["incidents"]
    return incidents


def test_an_incident_survives_a_kill_at_its_alarm(database_url: str) -> None:
    port = free_port()
    hook = f"http://127.0.0.1:{port}/hook"
    with receiving(port) as before:
        heard = [killed_at_its_alarm(database_url, hook) for _ in range(ROUNDS)]
    heard.append(killed_at_its_alarm(database_url, hook))       # the receiver is not running
    wanted = {f"inc_{digits(verdict)}" for verdict in heard}
    settings = {"database_url": database_url, "webhook_urls": hook, "webhook_secrets": SECRET, "webhook_private": True}
    with receiving(port) as receiver, running_rig(**settings) as rig, rig.client() as client:
        found = listed(client)
        assert len(found) == len(wanted)
        assert {incident["id"] for incident in found} == wanted
        assert {incident["verdict"] for incident in found} == set(heard)
        for incident in found:
            details = client.get(f"/v1/incidents/{incident['id']}").json()
            assert {"case.json", "samples.json", "rules.json"} <= {file["name"] for file in details["evidence"]}
            assert any(file["name"].startswith("crops/") for file in details["evidence"])
        messages = {f"{name}.opened" for name in wanted}
        until(lambda: messages <= {*before.ids, *receiver.ids}, PATIENCE_S)
        assert f"inc_{digits(heard[-1])}.opened" in receiver.ids
        assert before.unsigned == receiver.unsigned == []
        received = [*before.received, *receiver.received]
        told = {one.id: one.message["data"] for one in received if one.id.endswith(".opened")}
        assert {message["verdict"] for message in told.values()} == set(heard)


def digits(verdict: str) -> str:
    """Of the incident's id, which follows from the verdict's."""
    return hashlib.blake2b(verdict.encode(), digest_size=12).hexdigest()
