"""How commands end, and the lines they print."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import typer

from api.errors import SettingsRefused
from stream.errors import WorkerLost

EXIT_INCOMPLETE = 1         # the command ran; not everything went as asked
EXIT_NOT_POSSIBLE = 2       # the command could not run
FILE_WIDTH = 240            # columns of a table that goes to a file or a pipe


def run(work: Callable[[], None], *refusals: type[Exception]) -> None:
    """Runs a command's work; an expected refusal prints its message and ends the command with status 2."""
    try:
        work()
    except (SettingsRefused, WorkerLost) as error:
        end(str(error))
    except refusals as error:
        end(str(error))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def run_and_leave(work: Callable[[], None], *refusals: type[Exception]) -> NoReturn:
    """Like `run`, but ends the process at once, without finalizing the interpreter.

    For work with a native library whose threads call back into Python. Before Python 3.14, a finalizing interpreter
    ends such threads; a thread that comes from Rust cannot be unwound and aborts the process, whatever its status
    (livekit 1.2.1: one exit in 25).
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
    """Prints the message on stderr and ends the command with status 2."""
    typer.echo(message, err=True)
    raise typer.Exit(EXIT_NOT_POSSIBLE)


def say(line: str, is_aside: bool = False) -> None:
    """Prints one line at once, even into a pipe: results on stdout, asides on stderr."""
    typer.echo(line, err=is_aside)
    (sys.stderr if is_aside else sys.stdout).flush()


def key_from_stdin() -> str:
    """Returns the first line of standard input, without white space around it."""
    return sys.stdin.readline().strip()


def write_json(file: Path, result: Mapping[str, Any], *, allow_nan: bool = True) -> None:
    """Writes a result to a file whose folders are created. Raises ValueError for NaN where it is not allowed."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(result, indent=2, allow_nan=allow_nan) + "\n", encoding="utf-8")


def table_width() -> int | None:
    """Returns the width of tables on stdout, in columns; None stands for the width of the terminal."""
    return None if sys.stdout.isatty() else FILE_WIDTH
