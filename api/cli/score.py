"""`deepguard score`: verdicts on files, as a table or as JSON lines."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli.terminal import EXIT_INCOMPLETE, run, table_width
from api.settings.base import Settings, load_settings

if TYPE_CHECKING:
    from api.cli.file_scoring import Scored

HEADINGS = ("file", "label", "P(fake)", "frames", "faces", "reason")


def score(
    files: Annotated[list[Path], typer.Argument(help="Image and video files, and folders of them.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
    workers: Annotated[
        int | None, typer.Option(help="Number of worker processes; overrides DEEPGUARD_WORKERS.")
    ] = None,
) -> None:
    """Scores image and video files. Prints one verdict per file.

    Exit status: 0 if every file was scored, 1 if some could not be, 2 if the command could not run. The verdicts do not
    change it.
    """
    from api.logging_setup import logging_to

    def work() -> None:
        settings = load_settings(workers=workers, log_dir="", log_level="WARNING")
        with logging_to(settings):
            is_complete = asyncio.run(_score(files, as_json, settings))
        if not is_complete:
            raise typer.Exit(EXIT_INCOMPLETE)

    run(work)


async def _score(files: list[Path], as_json: bool, settings: Settings) -> bool:
    """Prints the results; returns whether every file was scored."""
    from rich.console import Console
    from rich.table import Table

    from api.cli.file_scoring import media_files, score_files
    from api.cli.progress import file_progress

    files = media_files(files)
    table = Table(box=None, pad_edge=False)
    for heading in HEADINGS:
        table.add_column(heading, overflow="fold")
    is_complete = True
    with file_progress(len(files)) as progress:
        async for scored in score_files(files, settings, progress.frame):
            progress.file_done()
            is_complete = is_complete and scored.problem is None
            if as_json:
                typer.echo(json.dumps(scored.as_line()))
            else:
                table.add_row(*_row(scored))
    if not as_json:
        Console(markup=False, width=table_width()).print(table)
    return is_complete


def _row(scored: Scored) -> tuple[str, ...]:
    """Returns one plain-text cell per heading."""
    if scored.verdict is None:
        message = scored.problem.message if scored.problem else ""
        return scored.file, "not scored", "", "", "", message
    verdict = scored.verdict
    share = "" if verdict.prob_fake is None else f"{verdict.prob_fake:.3f}"
    return (
        scored.file, verdict.label.value, share, str(verdict.frames_analyzed), str(verdict.faces_detected),
        verdict.reason.value,
    )
