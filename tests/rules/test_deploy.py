"""What is deployed fits what it deploys: settings, files, ports and figures that exist."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from api.settings.reference import settings_table
from tests.rules.source_tree import ROOT

if TYPE_CHECKING:
    from pathlib import Path

COMPOSE = ROOT / "docker-compose.yml"
FILES = (COMPOSE, ROOT / "deploy" / "single.yml")
OURS = ("KAFKA_BOOTSTRAP_SERVERS", "DEEPGUARD_", "PORT", "HOST")


def services(path: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(path.read_text())["services"]
    return found


def metric_names() -> set[str]:
    """As Prometheus will see them."""
    source = (ROOT / "api" / "routes" / "metrics.py").read_text()
    gauges = {f"deepguard_{name}" for name in re.findall(r'_gauge\("(\w+)"', source)}
    families = set(re.findall(r'GaugeMetricFamily\("(\w+)"', source))
    counters = {f"{name}_total" for name in re.findall(r'CounterMetricFamily\("(\w+)"', source)}
    return gauges | families | counters


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_service_of_ours_asks_for_settings_that_exist_and_has_no_rights(path: Path) -> None:
    known = {row.name for row in settings_table()}
    ours = {name: service for name, service in services(path).items() if service.get("image") == "deepguard"}
    assert ours
    for service in ours.values():
        assert {name for name in service["environment"] if name.startswith(OURS)} <= known
        assert service["cap_drop"] == ["ALL"]
        assert service["read_only"] is True
        assert "no-new-privileges:true" in service["security_opt"]


def test_the_stack_has_an_edge_two_consumers_and_what_watches_them() -> None:
    found = services(COMPOSE)
    assert {"deepguard", "consumer-1", "consumer-2", "topics", "kafka", "prometheus", "grafana", "coturn"} == set(found)
    assert found["deepguard"]["command"] == ["deepguard", "serve", "--detect", "kafka", "--verdicts", "kafka"]
    names = [found[f"consumer-{n}"]["environment"]["DEEPGUARD_KAFKA_INSTANCE"] for n in (1, 2)]
    assert len(set(names)) == 2, "static members need names of their own"


def test_nothing_without_a_key_is_open_to_others() -> None:
    for name, service in services(COMPOSE).items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name


def test_files_that_are_mounted_are_here() -> None:
    for service in services(COMPOSE).values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert not source.startswith("./") or (ROOT / source).exists(), source


def test_prometheus_scrapes_existing_endpoints() -> None:
    found = services(COMPOSE)
    jobs = yaml.safe_load((ROOT / "deploy" / "prometheus.yml").read_text())["scrape_configs"]
    targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in jobs}
    port = found["deepguard"]["environment"]["PORT"]
    assert targets["deepguard"] == [f"host.docker.internal:{port}"]
    assert targets["consumers"] == [
        f"{name}:{found[name]['environment']['DEEPGUARD_HEALTH_PORT']}" for name in ("consumer-1", "consumer-2")
    ]


def test_alerts_and_panels_are_about_figures_that_exist() -> None:
    texts = [
        rule["expr"] for group in yaml.safe_load((ROOT / "deploy" / "alerts.yml").read_text())["groups"]
        for rule in group["rules"]
    ]
    board = json.loads((ROOT / "deploy" / "grafana" / "dashboards" / "deepguard.json").read_text())
    texts += [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    asked = {name for text in texts for name in re.findall(r"deepguard_\w+", text)}
    assert asked
    assert asked <= metric_names()
