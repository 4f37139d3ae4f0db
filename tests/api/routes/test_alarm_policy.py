"""The alarm rule, over HTTP and as simulated on the command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from api.cli.main import app
from api.cli.simulate import evidence_of, simulate_policy
from api.errors import SettingsRefused
from api.settings.base import load_settings
from stream.alarm_simulation import SimulatedStreams

if TYPE_CHECKING:
    from pathlib import Path

    import httpx


def test_the_policy_has_the_budget_and_the_derived_limits(client: httpx.Client) -> None:
    policy = client.get("/v1/policy").json()
    assert policy["false_alarms_per_hour"] == 0.01
    assert policy["limit"] > 1
    assert policy["clear_bound"] < 0
    assert policy["expected_delay_s"] is None or policy["expected_delay_s"] > 0
    assert set(policy["evidence"]) == {
        "mean_real", "mean_fake", "sd", "correlation_s", "clip", "real_middle", "fake_low",
    }


def test_a_simulation_of_the_shipped_model_keeps_the_budget() -> None:
    settings = load_settings(false_alarms_per_hour=1.0)
    outcome = simulate_policy(settings, SimulatedStreams(settings.sample_rate_hz), streams=64, hours=1.0)
    assert outcome["rate_high"] <= 1.0
    assert outcome["stream_hours"] == 64.0


def test_the_command_writes_the_same_as_it_prints(tmp_path: Path) -> None:
    result = tmp_path / "simulated.json"
    done = CliRunner().invoke(
        app, ["simulate", "--streams", "4", "--hours", "0.05", "--budget", "2", "--json", str(result)]
    )
    assert done.exit_code == 0, done.output
    assert json.loads(result.read_text()) == json.loads(done.output)
    assert json.loads(result.read_text())["budget"]["false_alarms_per_hour"] == 2.0


def test_a_model_without_statistics_has_nothing_to_simulate(tmp_path: Path) -> None:
    with pytest.raises(SettingsRefused, match="MODEL_PATH"):
        evidence_of(load_settings(model_path=tmp_path))
