"""Which frames of a file are scored, and which packets need not be decoded for that. No I/O.

The index lists the packets of the video stream in file order. Where every packet has a presentation time, frames are
chosen by time, and groups of pictures in which no frame is wanted are left out; the frames that come out are the same
as those of decoding everything. Where times are missing or are not those of presentation (AVI), frames are counted.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from itertools import pairwise
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class PacketEntry(NamedTuple):
    """`pts` in ticks of the stream's time base, or None; `end` is `pts` plus the packet's duration.

    `is_shown` is False where the container says that the frame is decoded for the sake of others only.
    """

    pts: int | None
    end: int
    is_keyframe: bool
    is_shown: bool = True


@dataclass(frozen=True, slots=True)
class PacketIndex:
    """All packets of one video stream, in file order; `tick_s` is the length of one tick."""

    entries: tuple[PacketEntry, ...]
    tick_s: float
    fps: float
    ordered_times: bool

    @property
    def is_timed(self) -> bool:
        """Whether the times tell frames apart and rise from key frame to key frame; they start anew where recordings
        were joined.
        """
        if not self.ordered_times or any(entry.pts is None for entry in self.entries):
            return False
        starts = [entry.pts or 0 for entry in self.entries if entry.is_keyframe]
        return len(self.times) == self.frames and all(first < second for first, second in pairwise(starts))

    @property
    def duration_s(self) -> float:
        """From the first frame's start to the last frame's end; a frame shows for 1 / fps where nothing else is known.
        """
        times = self.times
        if not (self.is_timed and times):
            return self.frames * self._frame_s
        end = max(entry.end for entry in self.entries)
        return max((end - times[0]) * self.tick_s, (times[-1] - times[0]) * self.tick_s + self._frame_s)

    @property
    def times(self) -> list[int]:
        """Presentation times, ascending, each once."""
        return sorted({entry.pts for entry in self.entries if entry.pts is not None and entry.is_shown})

    @property
    def frames(self) -> int:
        """How many frames there are to show."""
        return sum(entry.is_shown for entry in self.entries)

    @property
    def _frame_s(self) -> float:
        return 1 / self.fps if self.fps else 0.0


@dataclass(frozen=True, slots=True)
class SampleTarget:
    """A frame to be scored: `at` is its pts (timed index) or its number in display order."""

    at: int
    frame_number: int


@dataclass(frozen=True, slots=True)
class SamplingPlan:
    """`targets` ascend; `keyframes` are (pts, position in file order) ascending, empty for a counted file."""

    is_timed: bool
    targets: tuple[SampleTarget, ...]
    keyframes: tuple[tuple[int, int], ...] = field(repr=False)

    def resume_at(self, target: SampleTarget) -> int:
        """The position of the last key frame that does not come after this frame; 0 if there is none."""
        found = bisect_right(self.keyframes, target.at, key=itemgetter(0))
        return self.keyframes[found - 1][1] if found else 0


def plan_samples(index: PacketIndex, max_samples: int, rate_hz: float) -> SamplingPlan:
    """At most `max_samples` frames, and at most `rate_hz` a second, in the middles of equal parts of the file."""
    total = index.frames
    count = max(1, min(max_samples, round(index.duration_s * rate_hz), total))
    middles = [(number + 0.5) / count for number in range(count)]
    times = index.times
    if not (index.is_timed and times):
        numbers = sorted({int(middle * total) for middle in middles})
        return SamplingPlan(False, tuple(SampleTarget(number, number) for number in numbers), ())
    length = index.duration_s / index.tick_s
    shown = {times[max(0, bisect_right(times, times[0] + middle * length) - 1)] for middle in middles}
    targets = tuple(SampleTarget(at, bisect_left(times, at)) for at in sorted(shown))
    return SamplingPlan(True, targets, _keyframes(index.entries))


def _keyframes(entries: Sequence[PacketEntry]) -> tuple[tuple[int, int], ...]:
    found = ((entry.pts, at) for at, entry in enumerate(entries) if entry.is_keyframe and entry.pts is not None)
    return tuple(sorted(found))
