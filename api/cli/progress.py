"""Progress bars on stderr. Nothing is drawn where stderr is no terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


class FileProgress:
    """The bar of a list of files, which names the file that is scored and its samples."""

    def __init__(self, progress: Progress | None, task: TaskID | None) -> None:
        self._progress = progress
        self._task = task

    def frame(self, file: str, done: int, planned: int) -> None:
        """Shows how many of a file's samples are done."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, description=f"{file} ({done}/{planned})" if planned else file)

    def file_done(self) -> None:
        """Advances the bar by one file."""
        if self._progress is not None and self._task is not None:
            self._progress.advance(self._task)


@contextmanager
def file_progress(total: int) -> Iterator[FileProgress]:
    """Shows a bar over `total` files while the block runs."""
    if not sys.stderr.isatty():
        yield FileProgress(None, None)
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield FileProgress(progress, progress.add_task("", total=total))


@contextmanager
def step_progress() -> Iterator[Callable[[str, float], None]]:
    """Yields a function of (step, share done); shows one bar per step, or one line per step without a terminal."""
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
    """Yields a function of (step, done, total); shows one bar per step."""
    steps: dict[str, TaskID] = {}
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:

        def tell(step: str, done: int, total: int) -> None:
            if step not in steps:
                steps[step] = progress.add_task(step, total=total)
            progress.update(steps[step], completed=done)

        yield tell
