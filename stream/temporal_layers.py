"""Temporal layers: selects the frames that need not be decoded at the current pace. No I/O.

A VP8 sender may assign frames to layers. Layer 0 is independent. Each further layer doubles the frame rate and refers
only to itself and lower layers, so a layer can be dropped together with those above it. Adding a layer back has to wait
for a key frame, or for one of its frames that refers to layer 0 alone (RFC 7741, 4.2: TID and Y).
"""

from __future__ import annotations

from collections import deque
from itertools import accumulate
from typing import NamedTuple

FRAMES_PER_SAMPLE = 2.0     # so that a sample is late by at most half the sampling interval
_LAYERS = 4                 # TID has two bits
_WINDOW_S = 2.0
_KNOWN_S = 1.0
_MAX_FRAMES = 512


class Layer(NamedTuple):
    """Temporal layer of a frame. `sync` says that the frame refers to layer 0 alone."""

    number: int
    sync: bool = False


BASE = Layer(0)


class LayerFilter:
    """Decides which frames of one stream to decode.

    `needed_hz` is the number of frames per second of media that the sampling needs. All frames are wanted until the
    frame rate of each layer is known.
    """

    def __init__(self, needed_hz: float) -> None:
        self.needed_hz = needed_hz
        self._highest = _LAYERS - 1     # highest layer whose references were all kept
        self._seen: deque[tuple[float, int]] = deque()
        self._counts = [0] * _LAYERS

    def wants(self, layer: Layer, pts_s: float, keyframe: bool) -> bool:
        """Whether to decode this frame. Call it once for each frame, in order."""
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
        """Returns the smallest number of layers that together have enough frames."""
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
