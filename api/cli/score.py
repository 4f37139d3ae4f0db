"""`deepguard score`: files judged, as a table for people or as lines for programs."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import typer
from rich.console import Console

from api.cli.file_scoring import score_files
from api.cli.terminal import file_progress, score_row, score_table
from api.logging_setup import logging_to
from api.settings.base import Settings

FILE_WIDTH = 240        # of a table that nobody reads on a screen


def score_to_terminal(files: list[Path], as_json: bool, settings: Settings) -> bool:
    """Whether every file could be judged."""
    with logging_to(settings):
        return asyncio.run(_score(files, as_json, settings))


async def _score(files: list[Path], as_json: bool, settings: Settings) -> bool:
    table = score_table()
    complete = True
    with file_progress(len(files)) as progress:
        async for scored in score_files(files, settings, progress.frame):
            progress.file_done()
            complete = complete and scored.problem is None
            if as_json:
                typer.echo(json.dumps(scored.as_line()))
            else:
                table.add_row(*score_row(scored))
    if not as_json:
        Console(markup=False, width=None if sys.stdout.isatty() else FILE_WIDTH).print(table)
    return complete
