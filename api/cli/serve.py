"""`deepguard serve`: the service."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from api.cli.terminal import run
from api.settings.base import load_settings
from api.settings.kafka import DetectionMode, VerdictSource
from api.settings.reference import settings_table


def serve(
    *,
    host: Annotated[str | None, typer.Option(help="Address to listen on; overrides HOST.")] = None,
    port: Annotated[int | None, typer.Option(help="TCP port to listen on; overrides PORT.")] = None,
    workers: Annotated[
        int | None, typer.Option(help="Number of worker processes; overrides DEEPGUARD_WORKERS.")
    ] = None,
    detect: Annotated[
        DetectionMode | None, typer.Option(help="Where media is analyzed; overrides DEEPGUARD_DETECT.")
    ] = None,
    verdicts: Annotated[
        VerdictSource | None, typer.Option(help="Where published verdicts come from; overrides DEEPGUARD_VERDICTS.")
    ] = None,
) -> None:
    """Starts the service. It runs until SIGTERM or Ctrl-C, which end it in order with status 0."""
    from api.launcher import run_server
    from api.logging_setup import logging_to, warn_of_unknown_settings

    def work() -> None:
        settings = load_settings(host=host, port=port, workers=workers, detect=detect, verdicts=verdicts)
        with logging_to(settings):
            warn_of_unknown_settings()
            asyncio.run(run_server(settings))

    run(work)


def settings_help() -> str:
    """Returns the table of all settings, as `deepguard serve --help` shows it."""
    lines = ["\b", "Settings (environment variables):"]
    for row in settings_table():
        lines.append(f"  {row.name:<24} {row.meaning}")
        lines.append(f"  {'':<24} default: {row.default or 'empty'}; allowed: {row.allowed}")
    return "\n".join(lines)
