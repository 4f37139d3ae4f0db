"""`deepguard replay`: reproduces an exported incident offline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from api.cli.terminal import EXIT_INCOMPLETE, run
from api.settings.base import load_settings


def replay(
    incident: Annotated[Path, typer.Argument(help="Zip file of an exported incident.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Recomputes an exported incident and compares the results. Needs no network.

    Exit status: 0 if everything matches, 1 if something differs, 2 if the file cannot be read.
    """
    from api.errors import InvalidBundle
    from api.incidents.replay_bundle import replay_incident

    def work() -> None:
        report = replay_incident(incident, load_settings().model_path)
        typer.echo(json.dumps(report.as_json(), indent=2) if as_json else report.as_text())
        if not report.matches:
            raise typer.Exit(EXIT_INCOMPLETE)

    run(work, InvalidBundle)
