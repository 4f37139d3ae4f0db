"""`deepguard simulate`: the alarm rule on synthetic evidence that behaves as the model's was measured to."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from api.errors import SettingsRefused
from api.settings.base import Settings
from detector.config import default_weights_dir
from detector.errors import WeightsRefused
from detector.model_artifact import read_manifest
from stream.alarm_simulation import World, simulate
from stream.cusum import Budget, EvidenceModel, evidence_model


def simulate_policy(settings: Settings, world: World, streams: int, hours: float) -> dict[str, Any]:
    """Settings, what they come to, and what was simulated. Raises SettingsRefused where the model has no statistics."""
    evidence = evidence_of(settings)
    budget = Budget(settings.false_alarms_per_hour, world.rate_hz, world.tracks)
    outcome = simulate(budget, evidence, world, streams=streams, hours=hours)
    finite = {name: value if math.isfinite(value) else None for name, value in asdict(outcome).items()}
    return {"budget": asdict(budget), "world": asdict(world), **finite}


def evidence_of(settings: Settings) -> EvidenceModel:
    """How the evidence of the model in `MODEL_PATH` behaves. Raises SettingsRefused."""
    try:
        stats = read_manifest(settings.model_path or default_weights_dir()).evidence
    except WeightsRefused as error:
        raise SettingsRefused(f"MODEL_PATH: {error}") from error
    if stats is None:
        raise SettingsRefused("MODEL_PATH: this model's evidence was not measured, so there is nothing to simulate")
    return evidence_model(stats)
