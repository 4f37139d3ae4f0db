"""`deepguard watch`: prints the events of a running service as text or JSON lines."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli.terminal import key_from_stdin, run, say
from stream import event_encoding
from stream.events import (
    REASON_TEXT,
    IncidentClosed,
    IncidentOpened,
    Label,
    StreamEnded,
    StreamGap,
    StreamStalled,
    StreamStarted,
    Verdict,
)

if TYPE_CHECKING:
    from api.clients.websocket import WatchOptions
    from stream.events import Event


def watch(
    url: Annotated[str, typer.Argument(help="URL of the service.")] = "http://127.0.0.1:5000",
    *,
    stream: Annotated[str, typer.Option(help="Id of one stream; * stands for all streams.")] = "*",
    call: Annotated[str | None, typer.Option(help="Show the streams of this call only.")] = None,
    label: Annotated[
        list[Label] | None,
        typer.Option(help="Show verdicts with this label, and the changes that end it; may be given several times."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
    key_stdin: Annotated[
        bool, typer.Option("--key-stdin", help="Read the API key from the first line of standard input.")
    ] = False,
) -> None:
    """Prints the verdicts of a running service as they appear. Runs until Ctrl-C and reconnects by itself."""
    from api.clients.websocket import WatchOptions
    from api.errors import WatchRefused

    options = WatchOptions(key_from_stdin() if key_stdin else "", stream, call, frozenset(label) if label else None)
    run(lambda: asyncio.run(_print_events(url, options, as_json)), WatchRefused)


async def _print_events(url: str, options: WatchOptions, as_json: bool) -> None:
    """Prints events on stdout and the state of the connection on stderr, until cancelled. Raises WatchRefused."""
    from api.clients import websocket
    from api.clients.websocket import Disconnected, NewEvent, Snapshot

    show = _as_json if as_json else line_of
    async with aclosing(websocket.watch(url, options)) as news:
        async for item in news:
            match item:
                case NewEvent(event, _):
                    say(show(event))
                case Snapshot(events, _):
                    say(f"{_running(events)} running", is_aside=True)
                    for event in events:
                        say(show(event))
                case Disconnected(message, retry_in_s):
                    say(f"cut off ({message}); retrying in {retry_in_s:.1f} s", is_aside=True)


def line_of(event: Event) -> str:
    """Returns one line of text: media time, stream, what happened."""
    match event:
        case Verdict():
            at_s, what = event.end_s, _said(event)
        case StreamStarted():
            at_s, what = 0.0, f"started ({event.source}{f', call {event.call_id}' if event.call_id else ''})"
        case StreamGap():
            at_s, what = event.from_s, f"media is missing from here on ({event.cause})"
        case StreamStalled():
            at_s, what = event.from_s, f"nothing has come for {event.silent_s:.0f} s"
        case IncidentOpened():
            faces = ", ".join(map(str, event.tracks))
            at_s, what = event.pts_s, f"ALARM: incident {event.id} opened (face {faces})"
        case IncidentClosed():
            at_s, what = event.pts_s, f"incident {event.id} closed ({event.reason.value})"
        case StreamEnded():
            why = f": {event.message}" if event.message else ""
            return f"{'':8}    {event.stream}  ended ({event.reason.value}{why})"
    return f"{at_s:8.1f} s  {event.stream}  {what}"


def _said(verdict: Verdict) -> str:
    share = "     " if verdict.prob_fake is None else f"{verdict.prob_fake:5.3f}"
    alarm = "  ALARM" if verdict.alarm else ""
    why = REASON_TEXT[verdict.reason]
    return f"{verdict.label.value:<9} {share}  {why}{alarm}  ({verdict.coverage:.0%} of the media examined)"


def _as_json(event: Event) -> str:
    return event_encoding.encode(event).decode()


def _running(events: tuple[Event, ...]) -> int:
    return sum(isinstance(event, StreamStarted) for event in events)
