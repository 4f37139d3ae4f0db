"""`deepguard publish`: a video file as a WebRTC call."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli.terminal import EXIT_INCOMPLETE, key_from_stdin, say

if TYPE_CHECKING:
    from api.clients.whip import PublishOptions, PublishStats

EXIT_HUNG_UP = 3


def publish(
    file: Annotated[Path, typer.Argument(help="Video file: H.264 or VP8, without B-frames, key frame first.")],
    url: Annotated[str, typer.Argument(help="WHIP endpoint: http://HOST:PORT/whip/STREAM.")],
    *,
    seconds: Annotated[
        float | None, typer.Option(help="Seconds to publish for; without it, the file loops until Ctrl-C.")
    ] = None,
    sample: Annotated[
        bool, typer.Option("--sample", help="Mark the stream as a demonstration; accepted from the same machine only.")
    ] = False,
    key_stdin: Annotated[
        bool, typer.Option("--key-stdin", help="Read the API key from the first line of standard input.")
    ] = False,
) -> None:
    """Publishes a video file to a WHIP endpoint. Sends its packets in a loop, without decoding them.

    Exit status: 0 if the publication ended as asked, 1 if it could not start or failed, 3 if the server ended it.
    """
    from api.clients.whip import PublishOptions
    from api.errors import PublishFailed

    options = PublishOptions(seconds, key_from_stdin() if key_stdin else None, sample)
    try:
        stats = asyncio.run(_publish_until_signal(url, file, options))
    except PublishFailed as error:
        say(str(error), is_aside=True)
        raise typer.Exit(EXIT_INCOMPLETE) from None
    say(f"{stats.frames} frames published, ended by {stats.ended_by}", is_aside=True)
    if stats.ended_by == "server":
        raise typer.Exit(EXIT_HUNG_UP)


async def _publish_until_signal(url: str, file: Path, options: PublishOptions) -> PublishStats:
    """Ends the publication in order at SIGINT and SIGTERM. Raises PublishFailed."""
    from api.clients import whip

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, options.stop.set)
    return await whip.publish(url, file, options)
