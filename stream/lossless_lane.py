"""Lossless lane: processes every sampled frame of recorded media in order and drops none."""

from __future__ import annotations

from operator import length_hint
from typing import TYPE_CHECKING

from stream.errors import MediaRefused
from stream.live_lane import LaneSample, LiveLane
from stream.types import DropCause

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from stream.media_limits import MediaLimits
    from stream.types import MediaUnit
    from stream.unit_decoder import DecodedPicture
    from stream.worker_messages import OpenStream


class LosslessLane(LiveLane):
    """Examines every wanted frame, however late. A unit is consumed when its last picture is."""

    def __init__(self, opened: OpenStream, limits: MediaLimits, clock: Callable[[], float]) -> None:
        super().__init__(opened, limits, clock)
        self._unit: MediaUnit | None = None
        self._pictures: Iterator[DecodedPicture] = iter(())

    @property
    def has_units(self) -> bool:
        return bool(self._waiting) or self._unit is not None or length_hint(self._pictures) > 0

    @property
    def is_over(self) -> bool:
        return self._is_flushed and not self.has_units

    def advance(self, budget_s: float) -> LaneSample | None:
        """Decodes up to the next sample, or for `budget_s`."""
        began_s = self._clock()
        while self.has_units:
            sample = self._step()
            if sample is not None or self._clock() - began_s >= budget_s:
                return sample
        return None

    def flush(self) -> LaneSample | None:
        """Returns the first sample that the decoder still holds; `advance` returns the others."""
        self._is_flushed = True
        self._pictures = iter(self._decoder.flush())
        return self.advance(0.0)

    def _step(self) -> LaneSample | None:
        if self._unit is None and not length_hint(self._pictures):
            self._begin(self._waiting.popleft()[0])
        picture = self._next_picture()
        if picture is None or length_hint(self._pictures, 1) == 0:
            self._finish()
        return None if picture is None else self._sample_of(picture)

    def _begin(self, unit: MediaUnit) -> None:
        self._unit = unit
        decoded = self._decoder.decode(unit)
        self._keyframe_needed = decoded.keyframe_needed
        if decoded.dropped is not None:
            self._refuse(unit, decoded.dropped)
        self._pictures = iter(decoded.pictures)

    def _next_picture(self) -> DecodedPicture | None:
        try:
            return next(self._pictures, None)
        except MediaRefused as refused:
            if self._unit is not None:
                self._refuse(
                    self._unit, DropCause.TOO_LARGE if refused.code == "too_large" else DropCause.DECODE_ERROR
                )
            return None

    def _finish(self) -> None:
        if self._unit is not None:
            self._consumed += 1
        self._unit, self._pictures = None, iter(())
