from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from api.routes.probes import without_folders
from api.routes.schemas import LiveAnswer, ReadyAnswer
from tests.api.rig import running_rig
from tests.api.shapes import answer_as

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from tests.api.rig import Rig


def test_a_service_that_can_judge_is_ready(client: httpx.Client) -> None:
    answer = client.get("/readyz")
    assert answer.status_code == 200
    ready = answer_as(ReadyAnswer, answer.json())
    assert (ready.status, ready.reasons, ready.workers_ready) == ("ready", (), 1)
    assert ready.model is not None


def test_a_service_without_a_model_lives_and_is_not_ready(tmp_path: Path) -> None:
    with running_rig(model_path=tmp_path) as rig, rig.client() as client:
        assert client.get("/livez").status_code == 200
        answer = client.get("/readyz")
        assert answer.status_code == 503
        ready = answer_as(ReadyAnswer, answer.json())
        assert (ready.status, ready.reasons, ready.model) == ("not_ready", ("no_model",), None)
        assert str(tmp_path.parent) not in ready.problem


def test_a_service_that_drains_is_not_ready() -> None:
    with running_rig() as rig, rig.client() as client:
        rig.run(rig.context.file_jobs.drain(0))
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()["reasons"]) == (503, ["draining"])


def test_event_loop_lag_is_reported(rig: Rig, client: httpx.Client) -> None:
    assert answer_as(LiveAnswer, client.get("/livez").json()).status == "alive"
    time.sleep(0.3)
    rig.call(time.sleep, 0.6)
    time.sleep(0.3)
    answer = client.get("/livez")
    assert answer.status_code == 200
    assert answer.json()["loop_lag_ms"] > 300


def test_a_loop_that_stands_still_is_not_alive(rig: Rig, client: httpx.Client) -> None:
    rig.call(time.sleep, 1.5)
    answer = client.get("/livez")
    assert (answer.status_code, answer.json()["status"]) == (503, "stalled")
    time.sleep(0.6)
    assert client.get("/livez").status_code == 200


@pytest.mark.parametrize(
    ("problem", "shown"),
    [
        ("no manifest.json in /srv/models/one: there is no model", "no manifest.json in one: there is no model"),
        ("'/a b'", "'a b'"),
        ("1/2 of the files", "1/2 of the files"),
        ("", ""),
    ],
)
def test_folders_are_not_shown(problem: str, shown: str) -> None:
    assert without_folders(problem) == shown
