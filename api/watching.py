"""`deepguard watch`: events of a running service as lines of text or JSON."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from api.client import Cut, Happened, Known, watch
from stream import wire
from stream.events import (
    REASON_TEXT,
    IncidentClosed,
    IncidentOpened,
    StreamEnded,
    StreamGap,
    StreamStalled,
    StreamStarted,
    Verdict,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from api.client import WatchOptions
    from stream.events import Event


async def print_events(url: str, options: WatchOptions, as_json: bool, say: Callable[[str, bool], None]) -> None:
    """Until it is cancelled. `say(line, is_aside)` gets each line; what is no event is an aside.

    Raises WatchRefused.
    """
    show = _as_json if as_json else line_of
    async with aclosing(watch(url, options)) as news:
        async for item in news:
            match item:
                case Happened(event, _):
                    say(show(event), False)
                case Known(events, _):
                    say(f"{_running(events)} running", True)
                    for event in events:
                        say(show(event), False)
                case Cut(message, again_s):
                    say(f"cut off ({message}); trying again in {again_s:.1f} s", True)


def line_of(event: Event) -> str:
    """One event for people."""
    match event:
        case Verdict():
            share = "     " if event.prob_fake is None else f"{event.prob_fake:5.3f}"
            what = f"{event.label.value:<9} {share}  {REASON_TEXT[event.reason]}"
            alarm = "  ALARM" if event.alarm else ""
            return f"{event.end_s:8.1f} s  {event.stream}  {what}{alarm}  ({event.coverage:.0%} of the media examined)"
        case StreamStarted():
            call = f", call {event.call_id}" if event.call_id else ""
            return f"{0:8.1f} s  {event.stream}  started ({event.source}{call})"
        case StreamGap():
            return f"{event.from_s:8.1f} s  {event.stream}  media is missing from here on ({event.cause})"
        case StreamStalled():
            return f"{event.from_s:8.1f} s  {event.stream}  nothing has come for {event.silent_s:.0f} s"
        case IncidentOpened():
            faces = ", ".join(map(str, event.tracks))
            return f"{event.pts_s:8.1f} s  {event.stream}  ALARM: incident {event.id} opened (face {faces})"
        case IncidentClosed():
            return f"{event.pts_s:8.1f} s  {event.stream}  incident {event.id} closed ({event.reason.value})"
        case StreamEnded():
            why = f": {event.message}" if event.message else ""
            return f"{'':8}    {event.stream}  ended ({event.reason.value}{why})"


def _as_json(event: Event) -> str:
    return wire.encode(event).decode()


def _running(events: tuple[Event, ...]) -> int:
    return sum(isinstance(event, StreamStarted) for event in events)
