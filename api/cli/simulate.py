"""`deepguard simulate`: the alarm rule on synthetic evidence with the measured statistics of the model."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli.terminal import run, write_json
from api.errors import SettingsRefused
from api.settings.base import Settings, load_settings

if TYPE_CHECKING:
    from stream.alarm_simulation import SimulatedStreams
    from stream.cusum import EvidenceModel


def simulate(
    *,
    hours: Annotated[float, typer.Option(help="Simulated hours of genuine faces per stream.", min=0.01)] = 1.0,
    streams: Annotated[int, typer.Option(help="Number of simultaneous streams.", min=1)] = 256,
    budget: Annotated[
        float | None,
        typer.Option(help="False alarms per stream and hour; overrides DEEPGUARD_FALSE_ALARMS_PER_HOUR."),
    ] = None,
    rate: Annotated[
        float | None, typer.Option(help="Samples per second; overrides DEEPGUARD_SAMPLE_RATE.")
    ] = None,
    offset_sd: Annotated[
        float, typer.Option(help="Standard deviation, over streams, of a constant offset of the evidence, in nats.")
    ] = 0.0,
    gap_share: Annotated[float, typer.Option(help="Share of the samples that are lost, 0 to 1.")] = 0.0,
    tracks: Annotated[int, typer.Option(help="Faces per stream.", min=1)] = 1,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Also write the result here.")
    ] = None,
) -> None:
    """Simulates false alarms and delay of the alarm rule. Uses the measured evidence statistics of the model."""
    from stream.alarm_simulation import SimulatedStreams

    def work() -> None:
        settings = load_settings(false_alarms_per_hour=budget, sample_rate_hz=rate)
        world = SimulatedStreams(settings.sample_rate_hz, offset_sd=offset_sd, gap_share=gap_share, tracks=tracks)
        result = simulate_policy(settings, world, streams, hours)
        if json_file is not None:
            write_json(json_file, result)
        typer.echo(json.dumps(result, indent=2))

    run(work)


def simulate_policy(settings: Settings, world: SimulatedStreams, streams: int, hours: float) -> dict[str, Any]:
    """Simulates the alarm rule. Returns the alarm budget, the parameters of the simulated streams and the outcome.

    Raises SettingsRefused if the manifest of the model has no evidence statistics.
    """
    from stream import alarm_simulation
    from stream.cusum import AlarmBudget

    evidence = evidence_of(settings)
    budget = AlarmBudget(settings.false_alarms_per_hour, world.rate_hz, world.tracks)
    outcome = alarm_simulation.simulate(budget, evidence, world, streams=streams, hours=hours)
    finite = {name: value if math.isfinite(value) else None for name, value in asdict(outcome).items()}
    return {"budget": asdict(budget), "world": asdict(world), **finite}


def evidence_of(settings: Settings) -> EvidenceModel:
    """Returns the evidence statistics of the model that MODEL_PATH names. Raises SettingsRefused."""
    from detector.config import default_weights_dir
    from detector.errors import WeightsRefused
    from detector.model_artifact import read_manifest
    from stream.cusum import evidence_model

    try:
        stats = read_manifest(settings.model_path or default_weights_dir()).evidence
    except WeightsRefused as error:
        raise SettingsRefused(f"MODEL_PATH: {error}") from error
    if stats is None:
        raise SettingsRefused("MODEL_PATH: the evidence of this model was not measured")
    return evidence_model(stats)
