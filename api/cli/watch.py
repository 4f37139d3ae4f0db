"""`deepguard watch`: events of a running service as lines of text or JSON."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from api.clients.websocket import Cut, Happened, Known, watch
from stream import event_encoding
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

    from api.clients.websocket import WatchOptions
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
    """One event for people: media time, stream, what happened."""
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
