"""What commands say to people: progress on stderr where that is a terminal, tables, one line for a refusal."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from api.cli.file_scoring import Scored
from api.errors import SettingsRefused
from stream.errors import WorkerLost

EXIT_NOT_POSSIBLE = 2


def run(work: Callable[[], None], *refusals: type[Exception]) -> None:
    """Runs a command's work. A refusal that is expected ends it with status 2 and its own words."""
    try:
        work()
    except (SettingsRefused, WorkerLost) as error:
        end(str(error))
    except refusals as error:
        end(str(error))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def run_and_leave(work: Callable[[], None], *refusals: type[Exception]) -> NoReturn:
    """Like `run`, for work with a native library whose threads call back; then the process is over at once.

    Until Python 3.14 an interpreter that winds down ends every foreign thread that calls into it, and one that comes
    from Rust cannot be unwound: it aborts the process, whatever was to be its status (livekit 1.2.1, one end in 25).
    """
    status = 0
    try:
        run(work, *refusals)
    except typer.Exit as over:
        status = over.exit_code
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def end(message: str) -> NoReturn:
    """Ends the command with status 2."""
    typer.echo(message, err=True)
    raise typer.Exit(EXIT_NOT_POSSIBLE)


class FileProgress:
    """How far a list of files is."""

    def __init__(self, progress: Progress | None, task: TaskID | None) -> None:
        self._progress = progress
        self._task = task

    def frame(self, file: str, done: int, planned: int) -> None:
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, description=f"{file} ({done}/{planned})" if planned else file)

    def file_done(self) -> None:
        if self._progress is not None and self._task is not None:
            self._progress.advance(self._task)


@contextmanager
def file_progress(total: int) -> Iterator[FileProgress]:
    """A bar on stderr while the block runs; nothing where that is no terminal."""
    if not sys.stderr.isatty():
        yield FileProgress(None, None)
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield FileProgress(progress, progress.add_task("", total=total))


@contextmanager
def step_progress() -> Iterator[Callable[[str, float], None]]:
    """Takes (step, share done); shows a bar per step on stderr, or a line per step where that is no terminal."""
    steps: dict[str, TaskID] = {}
    is_terminal = sys.stderr.isatty()
    with Progress(console=Console(stderr=True), disable=not is_terminal) as progress:

        def tell(step: str, share: float) -> None:
            if step not in steps:
                steps[step] = progress.add_task(step, total=1.0)
                if not is_terminal:
                    typer.echo(step, err=True)
            progress.update(steps[step], completed=share)

        yield tell


@contextmanager
def count_progress() -> Iterator[Callable[[str, int, int], None]]:
    """Takes (step, done, total); shows a bar per step on stderr where that is a terminal."""
    steps: dict[str, TaskID] = {}
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:

        def tell(step: str, done: int, total: int) -> None:
            if step not in steps:
                steps[step] = progress.add_task(step, total=total)
            progress.update(steps[step], completed=done)

        yield tell


def score_table() -> Table:
    """An empty table for `score_row`."""
    table = Table(box=None, pad_edge=False)
    for heading in ("file", "label", "P(fake)", "frames", "faces", "reason"):
        table.add_column(heading, overflow="fold")
    return table


def score_row(scored: Scored) -> tuple[str, ...]:
    """The cells of one file; plain text."""
    if scored.verdict is None:
        message = scored.problem.message if scored.problem else ""
        return scored.file, "not judged", "", "", "", message
    verdict = scored.verdict
    share = "" if verdict.prob_fake is None else f"{verdict.prob_fake:.3f}"
    return (
        scored.file, verdict.label.value, share, str(verdict.frames_analyzed), str(verdict.faces_detected),
        verdict.reason.value,
    )
