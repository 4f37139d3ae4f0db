"""Temporal layers: which frames of a call need not be decoded at all at the pace it is sampled. Pure.

A VP8 sender may number its frames by layer: layer 0 stands on its own, each further layer doubles the frame rate and
only refers to layers below or to itself. Leaving out a whole layer and those above it harms nothing. Taking one up
again has to wait for a frame of it that refers to layer 0 alone, or for a key frame (RFC 7741, 4.2: TID and Y).
"""

from __future__ import annotations

from collections import deque
from itertools import accumulate
from typing import NamedTuple

FRAMES_PER_SAMPLE = 2.0     # so that a sample is never more than half its turn late
_LAYERS = 4                 # two bits
_WINDOW_S = 2.0
_KNOWN_S = 1.0
_MAX_FRAMES = 512


class Layer(NamedTuple):
    """Where a frame belongs. `sync`: it refers to layer 0 alone."""

    number: int
    sync: bool = False


BASE = Layer(0)


class LayerFilter:
    """Tells for every frame of one stream whether to decode it. `needed_hz` is how many frames per second of media the
    sampling needs; as long as it is not known how many each layer has, all are wanted."""

    def __init__(self, needed_hz: float) -> None:
        self.needed_hz = needed_hz
        self._highest = _LAYERS - 1     # what can be decoded
        self._seen: deque[tuple[float, int]] = deque()
        self._counts = [0] * _LAYERS

    def wants(self, layer: Layer, pts_s: float, keyframe: bool) -> bool:
        """Whether to decode this frame; to be asked once for each, in their order."""
        self._count(layer.number, pts_s)
        needed = self._needed()
        if keyframe:
            self._highest = needed
            return True
        if layer.number > needed:
            self._highest = min(self._highest, needed)
            return False
        if layer.sync and layer.number == self._highest + 1:
            self._highest = layer.number
        return layer.number <= self._highest

    def _needed(self) -> int:
        """The fewest layers that have enough frames together."""
        span_s = self._seen[-1][0] - self._seen[0][0]
        if span_s < _KNOWN_S:
            return _LAYERS - 1
        together = accumulate(self._counts)
        return next((n for n, count in enumerate(together) if count - 1 >= self.needed_hz * span_s), _LAYERS - 1)

    def _count(self, number: int, pts_s: float) -> None:
        self._seen.append((pts_s, number))
        self._counts[number] += 1
        while pts_s - self._seen[0][0] > _WINDOW_S or len(self._seen) > _MAX_FRAMES:
            self._counts[self._seen.popleft()[1]] -= 1
