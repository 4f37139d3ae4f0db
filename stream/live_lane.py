"""Live lane: one live stream inside a worker, with its queue, decoder, sampling grid, tracks and counts."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from detector.face_follower import FaceFollower
from stream.frame_analyser import SCORER_FAILED
from stream.frame_sampler import Sampler, SamplingGrid
from stream.segment_decoder import decoder_for
from stream.types import DropCause, FrameCounts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from stream.media_limits import MediaLimits
    from stream.types import MediaUnit
    from stream.unit_decoder import DecodedPicture
    from stream.worker_messages import OpenStream

LATE_S = 0.5
CATCH_UP_S = 0.1
HOLD_S = 0.05
CREDITS_AT_ONCE = 8
CREDITS_EVERY_S = 0.1
KEYFRAME_EVERY_S = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class LaneSample:
    """A picture that fills a cell of the grid, sampled at `pace`."""

    picture: DecodedPicture
    cell: int
    frame_number: int
    pace: int


class _UnitResult(NamedTuple):
    """Result of one unit: the picture that fills a cell, if any, and the last picture."""

    sample: LaneSample | None
    last: DecodedPicture | None


class LiveLane:
    """Decodes one stream in step with the worker's rounds. `clock` returns monotonic seconds."""

    def __init__(self, opened: OpenStream, limits: MediaLimits, clock: Callable[[], float]) -> None:
        self.opened = opened
        self.tracks = FaceFollower(opened.first_track, follows=not opened.repeatable)
        self.is_closing = False
        self._is_flushed = False
        self._clock = clock
        self._decoder = decoder_for(opened.codec, limits)
        self._sampler = Sampler(SamplingGrid(opened.rate_hz, opened.phase), opened.pace)
        self._waiting: deque[tuple[MediaUnit, float]] = deque()
        self._keyframe_asked_s = float("-inf")
        self._keyframe_needed = False
        self._next_frame = opened.first_frame
        self._held: LaneSample | None = None
        self._held_s = 0.0
        self._consumed = 0
        self._refused: list[tuple[int, DropCause]] = []
        self._reported_s = float("-inf")
        self._received = self._decoded = self._sampled = self._scored = 0
        self._dropped: Counter[str] = Counter()

    @property
    def pace(self) -> int:
        """Sampling density of the stream."""
        return self._sampler.pace

    @pace.setter
    def pace(self, pace: int) -> None:
        self._sampler.pace = pace

    @property
    def has_units(self) -> bool:
        """Whether a turn has units to decode."""
        return bool(self._waiting) or (self._held is not None and self._clock() - self._held_s >= HOLD_S)

    @property
    def is_holding(self) -> bool:
        """Whether a late sample is held back briefly, so that a newer frame can replace it."""
        return self._held is not None

    @property
    def is_over(self) -> bool:
        return self._is_flushed and not self._waiting

    @property
    def counts(self) -> FrameCounts:
        return FrameCounts(
            received=self._received,
            decoded=self._decoded,
            sampled=self._sampled,
            scored=self._scored,
            dropped=dict(self._dropped),
        )

    def put(self, unit: MediaUnit, arrived_s: float) -> None:
        self._received += 1
        self._waiting.append((unit, arrived_s))

    def advance(self, budget_s: float) -> LaneSample | None:
        """Decodes waiting units up to the next sample or for `budget_s`; for up to `CATCH_UP_S` while the stream is
        late.

        A newer sample replaces one that waited too long, as does a newer frame of its cell: decoding is cheap, scoring
        is not. If there is no newer one, the sample is held back once, for at most `HOLD_S`. Units that arrived while
        the worker was busy may still be in transit.
        """
        began_s = self._clock()
        newest, self._held = self._held, None
        was_held, is_late = newest is not None, newest is not None
        while self._waiting:
            unit, arrived_s = self._waiting.popleft()
            self._consumed += 1
            newest = self._newer(newest, self._decode(unit))
            now_s = self._clock()
            is_late = now_s - arrived_s > LATE_S
            if now_s - began_s >= (CATCH_UP_S if is_late else budget_s) or (newest is not None and not is_late):
                break
        if newest is None or was_held or not is_late or self.is_closing:
            return newest
        self._held, self._held_s = newest, self._clock()
        return None

    def flush(self) -> LaneSample | None:
        """Ends the lane; returns the newest sample that the decoder still holds."""
        self._is_flushed = True
        held, self._held = self._held, None
        return self._newer(held, self._take(self._decoder.flush()))

    def report(self, unscored: str) -> None:
        """Counts one examined sample; `unscored` as in Observation."""
        if not unscored:
            self._scored += 1
        elif unscored == SCORER_FAILED:
            self._dropped[DropCause.SCORER_FAILED] += 1

    @property
    def owes_credits(self) -> bool:
        """Whether `take_consumed` has not yet reported all consumed units."""
        return self._consumed > 0

    def take_consumed(self, now: bool = False) -> int:
        """Returns the number of consumed units not yet reported. Reports small numbers only if `now` is set."""
        now_s = self._clock()
        if not now and self._consumed < CREDITS_AT_ONCE and now_s - self._reported_s < CREDITS_EVERY_S:
            return 0
        self._reported_s = now_s
        consumed, self._consumed = self._consumed, 0
        return consumed

    def take_refused(self) -> tuple[tuple[int, DropCause], ...]:
        """Returns sequence and cause of consumed units that could not be decoded and were not yet reported."""
        refused, self._refused = tuple(self._refused), []
        return refused

    def wants_keyframe(self) -> bool:
        """Whether to request a key frame now; true at most once per second."""
        now_s = self._clock()
        if not self._keyframe_needed or now_s - self._keyframe_asked_s < KEYFRAME_EVERY_S:
            return False
        self._keyframe_asked_s = now_s
        return True

    def _newer(self, sample: LaneSample | None, decoded: _UnitResult) -> LaneSample | None:
        """Returns the sample to show after one more unit."""
        if decoded.sample is not None:
            self._supersede(sample)
            return decoded.sample
        if sample is not None and decoded.last is not None:
            return replace(sample, picture=decoded.last, frame_number=self._next_frame - 1)
        return sample

    def _decode(self, unit: MediaUnit) -> _UnitResult:
        decoded = self._decoder.decode(unit)
        self._keyframe_needed = decoded.keyframe_needed
        if decoded.dropped is not None:
            self._refuse(unit, decoded.dropped)
        return self._take(decoded.pictures)

    def _refuse(self, unit: MediaUnit, cause: DropCause) -> None:
        self._dropped[cause] += 1
        if cause is not DropCause.NO_KEYFRAME:
            self._refused.append((unit.sequence, cause))

    def _take(self, pictures: Iterable[DecodedPicture]) -> _UnitResult:
        newest: LaneSample | None = None
        last: DecodedPicture | None = None
        for picture in pictures:
            last = picture
            sample = self._sample_of(picture)
            if sample is not None:
                self._supersede(newest)
                newest = sample
        return _UnitResult(newest, last)

    def _sample_of(self, picture: DecodedPicture) -> LaneSample | None:
        """Returns this picture as a sample, if it fills a wanted cell."""
        self._decoded += 1
        number, self._next_frame = self._next_frame, self._next_frame + 1
        cell = self._sampler.take(picture.pts_s)
        if cell is None or (self.opened.after_cell is not None and cell <= self.opened.after_cell):
            return None
        self._sampled += 1
        return LaneSample(picture, cell, number, self.pace)

    def _supersede(self, sample: LaneSample | None) -> None:
        if sample is not None:
            self._dropped[DropCause.SUPERSEDED] += 1
