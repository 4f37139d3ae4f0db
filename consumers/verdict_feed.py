"""Verdict feed: turns published verdicts and ends into stream events; adds starts and drops repeats. No I/O.

Memory: one entry per running stream, and the last epoch of the newest 10,000 ended streams.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

from consumers.verdict_records import RepeatFilter
from stream.events import StreamEnded, StreamStarted
from stream.types import EndReason, FrameCounts

if TYPE_CHECKING:
    from stream.events import Event, Verdict

SOURCE = "kafka"

_MAX_ENDED = 10_000


class _Running(NamedTuple):
    """A stream without an end. `seen_s` is the Unix time of its newest verdict."""

    epoch: int
    frames: FrameCounts
    seen_s: float


class VerdictFeed:
    """Tracks streams that other processes examine. `now_s` and `written_s` are Unix time in seconds."""

    def __init__(self, silent_s: float = 120.0) -> None:
        self._silent_s = silent_s
        self._filter = RepeatFilter()
        self._running: dict[str, _Running] = {}
        self._ended: OrderedDict[str, int] = OrderedDict()

    def verdict(self, verdict: Verdict, written_s: float, now_s: float) -> list[Event]:
        """Returns a verdict's events: with a start before the first of an epoch; none for repeats and ended epochs."""
        stream = verdict.stream
        if verdict.epoch <= self._ended.get(stream, -1) or not self._filter.is_new(verdict):
            return []
        events: list[Event] = []
        running = self._running.get(stream)
        if running is not None and running.epoch != verdict.epoch:
            events += self._end(stream, EndReason.PUBLISHER_LEFT, "a new epoch began")
            running = None
        if running is None:
            started_s = written_s - verdict.end_s
            events.append(StreamStarted(stream=stream, epoch=verdict.epoch, source=SOURCE, started_s=started_s))
        self._running[stream] = _Running(verdict.epoch, verdict.frames, now_s)
        return [*events, verdict]

    def ended(self, event: StreamEnded) -> list[Event]:
        """Returns the end, if the epoch runs. Call it after all verdicts of the epoch; a silent stream may continue."""
        running = self._running.get(event.stream)
        if event.reason is not EndReason.SILENT:
            self._remember_end(event.stream, event.epoch)
        if running is None or running.epoch != event.epoch:
            return []
        del self._running[event.stream]
        if event.reason is not EndReason.SILENT:
            self._filter.forget(event.stream)
        return [event]

    def expire(self, now_s: float) -> list[Event]:
        """Ends streams that had no verdict for `silent_s` seconds."""
        silent = [name for name, running in self._running.items() if now_s - running.seen_s > self._silent_s]
        return [event for name in silent for event in self._end(name, EndReason.SILENT, "no verdict came any more")]

    def _end(self, stream: str, reason: EndReason, message: str) -> list[Event]:
        running = self._running.pop(stream)
        return [
            StreamEnded(stream=stream, epoch=running.epoch, reason=reason, message=message, frames=running.frames)
        ]

    def _remember_end(self, stream: str, epoch: int) -> None:
        self._ended[stream] = max(epoch, self._ended.get(stream, -1))
        self._ended.move_to_end(stream)
        while len(self._ended) > _MAX_ENDED:
            self._ended.popitem(last=False)
