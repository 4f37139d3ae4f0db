"""Sampling plan: the frames of a file to score, and the packets that can be skipped without decoding. No I/O.

The index lists the packets of the video stream in file order. Where every packet has a presentation time, frames are
chosen by time. Groups of pictures without a wanted frame are skipped; the resulting frames equal those of decoding
everything. Where times are missing or are decoding times (AVI), frames are counted.
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
    """`pts` is in ticks of the stream's time base, or None; `end` is `pts` plus the packet's duration.

    `is_shown` is False if the container marks the frame as decoded for reference only.
    """

    pts: int | None
    end: int
    is_keyframe: bool
    is_shown: bool = True


@dataclass(frozen=True, slots=True)
class PacketIndex:
    """All packets of one video stream, in file order; `tick_s` is the length of one tick in seconds."""

    entries: tuple[PacketEntry, ...]
    tick_s: float
    fps: float
    ordered_times: bool

    @property
    def is_timed(self) -> bool:
        """Whether the times are distinct and rise from key frame to key frame. Times restart where recordings were
        joined."""
        if not self.ordered_times or any(entry.pts is None for entry in self.entries):
            return False
        starts = [entry.pts or 0 for entry in self.entries if entry.is_keyframe]
        return len(self.times) == self.frames and all(first < second for first, second in pairwise(starts))

    @property
    def duration_s(self) -> float:
        """Seconds from the first frame's start to the last frame's end; a frame lasts 1 / fps if its duration is
        unknown."""
        times = self.times
        if not (self.is_timed and times):
            return self.frames * self._frame_s
        end = max(entry.end for entry in self.entries)
        return max((end - times[0]) * self.tick_s, (times[-1] - times[0]) * self.tick_s + self._frame_s)

    @property
    def times(self) -> list[int]:
        """Distinct presentation times, ascending."""
        return sorted({entry.pts for entry in self.entries if entry.pts is not None and entry.is_shown})

    @property
    def frames(self) -> int:
        """Number of frames to show."""
        return sum(entry.is_shown for entry in self.entries)

    @property
    def _frame_s(self) -> float:
        return 1 / self.fps if self.fps else 0.0


@dataclass(frozen=True, slots=True)
class SampleTarget:
    """A frame to score: `at` is its pts (timed index) or its number in display order."""

    at: int
    frame_number: int


@dataclass(frozen=True, slots=True)
class SamplingPlan:
    """`targets` ascend; `keyframes` are (pts, position in file order) ascending, empty for a counted file."""

    is_timed: bool
    targets: tuple[SampleTarget, ...]
    keyframes: tuple[tuple[int, int], ...] = field(repr=False)

    def resume_at(self, target: SampleTarget) -> int:
        """Returns the position of the last key frame at or before this frame; 0 if there is none."""
        found = bisect_right(self.keyframes, target.at, key=itemgetter(0))
        return self.keyframes[found - 1][1] if found else 0


def plan_samples(index: PacketIndex, max_samples: int, rate_hz: float) -> SamplingPlan:
    """Plans at most `max_samples` frames, at most `rate_hz` per second, in the middles of equal parts of the file."""
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
