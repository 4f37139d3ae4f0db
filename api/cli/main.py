"""The command `deepguard`: one module of this package per command.

A command's module imports at its top only what its options need; the rest is imported when the command runs.
"""

from __future__ import annotations

from typing import Annotated

import typer

from api.cli.bench import bench
from api.cli.calibrate import calibrate
from api.cli.consume import consume
from api.cli.demo import demo
from api.cli.doctor import doctor
from api.cli.evaluate import evaluate
from api.cli.export import export
from api.cli.import_weights import import_weights
from api.cli.livekit import livekit
from api.cli.produce import produce
from api.cli.publish import publish
from api.cli.replay import replay
from api.cli.score import score
from api.cli.serve import serve, settings_help
from api.cli.settle import settle
from api.cli.simulate import simulate
from api.cli.topics import topics
from api.cli.train import train
from api.cli.watch import watch
from api.version import VERSION

app = typer.Typer(
    name="deepguard", no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False,
)


def main() -> None:
    """Runs the command that `sys.argv` names."""
    app()


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"deepguard {VERSION}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Scores live calls and files for manipulated faces."""


app.command(epilog=settings_help())(serve)
app.command()(consume)
app.command()(watch)
app.command()(score)
app.command()(produce)
app.command()(publish)
app.command()(demo)
app.command()(doctor)
app.command()(topics)
app.command()(replay)
app.command()(simulate)
app.command()(livekit)
app.command()(train)
app.command()(settle)
app.command()(export)
app.command("import-weights")(import_weights)
app.command()(calibrate)
app.command()(evaluate)
app.add_typer(bench, name="bench")
