"""Clips sampled at a constant rate, as in a call, and the same frames under corruptions, codecs and face sizes."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import av
import cv2
import numpy as np

from detector.errors import FaceNotCroppable
from detector.face_crop import crop_face
from detector.training.data import datasets
from detector.training.evaluation.corruptions import Corruption, Transcoding, all_codings, all_corruptions, recode_clip
from detector.types import DetectedFace, FaceBox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    Picture = NDArray[np.uint8]

LONGEST_S = 60.0
# Shorter side of the face, which determines its weight; one size for each row of the table by size.
SIZES_PX = (48, 72, 104, 150)
_SLACK = 1e-6


class SampledFrame(NamedTuple):
    """One sampled frame: number in the clip, media time since the first frame, and face.

    `halves` are uint8 (h, w, 3) RGB: the picture and, for a pair, its swap with the same box.
    """

    frame_number: int
    time_s: float
    face: DetectedFace
    halves: tuple[Picture, ...]


class SampledClip(NamedTuple):
    """The sampled frames of a clip that show a face; `length_s` is the sampled duration."""

    clip: datasets.Clip
    frames: tuple[SampledFrame, ...]
    length_s: float

    @property
    def face_px(self) -> float:
        """Median of the shorter side of the face, NaN without frames."""
        return float(np.median([min(frame.face.box.width, frame.face.box.height) for frame in self.frames]))


class FootageCondition(NamedTuple):
    """A condition of evaluation. `apply` returns the clip under it, or None where it does not suit the clip."""

    name: str
    apply: Callable[[SampledClip], SampledClip | None]


def sample_clip(
    clip: datasets.Clip, locator: datasets.FaceLocator, rate_hz: float, longest_s: float = LONGEST_S
) -> SampledClip:
    """Samples a clip at `rate_hz`; `locator` finds and caches the largest face of each frame."""
    frames, cell = [], -1
    times = dict(steady_times(clip.path, rate_hz, longest_s))
    for number, rgb in datasets.read_frames(clip, times):
        time_s, halves = times[number], datasets.split_halves(clip, rgb)
        cell = _cell(time_s, rate_hz)
        face = locator.locate(datasets.frame_key(clip.path, number), halves[0])
        if face is not None and _is_croppable(halves[0], face):
            frames.append(SampledFrame(number, time_s, face, halves))
    locator.save()
    return SampledClip(clip, tuple(frames), (cell + 1) / rate_hz)


def _is_croppable(rgb: Picture, face: DetectedFace) -> bool:
    try:
        crop_face(rgb, face)
    except FaceNotCroppable:
        return False
    return True


def steady_times(path: Path, rate_hz: float, longest_s: float) -> Iterator[tuple[int, float]]:
    """Yields number and time of the first frame in each interval of 1 / `rate_hz`; times start at the first frame."""
    first_s, last = None, -1
    with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if frame.time is None:
                continue
            first_s = frame.time if first_s is None else first_s
            time_s = frame.time - first_s
            if time_s > longest_s - _SLACK:
                return
            if _cell(time_s, rate_hz) > last:
                last = _cell(time_s, rate_hz)
                yield number, time_s


def _cell(time_s: float, rate_hz: float) -> int:
    return math.floor(time_s * rate_hz + _SLACK)


def corruption_conditions(levels: tuple[int, ...], folder: Path) -> list[FootageCondition]:
    """Returns no corruption, every corruption at the levels, and codecs at bitrates, whose files stay in `folder`."""
    corruptions = (Corruption(), *all_corruptions(levels))
    kinds = [FootageCondition(str(kind), partial(_corrupted, kind)) for kind in corruptions]
    codings = [FootageCondition(str(coding), partial(_recoded, coding, folder)) for coding in all_codings(levels)]
    return [*kinds, *codings]


def size_conditions() -> list[FootageCondition]:
    """Returns conditions that scale clips down to given face sizes."""
    return [FootageCondition(f"face of {size_px} px", partial(_scaled, size_px)) for size_px in SIZES_PX]


def _corrupted(kind: Corruption, footage: SampledClip) -> SampledClip:
    frames = (frame._replace(halves=tuple(map(kind.apply, frame.halves))) for frame in footage.frames)
    return footage._replace(frames=tuple(frames))


def _recoded(coding: Transcoding, folder: Path, footage: SampledClip) -> SampledClip:
    clip, at = footage.clip, {frame.frame_number: frame for frame in footage.frames}
    frames = datasets.read_frames(recode_clip(clip, coding, folder), at)
    return footage._replace(frames=tuple(at[n]._replace(halves=datasets.split_halves(clip, rgb)) for n, rgb in frames))


def _scaled(size_px: int, footage: SampledClip) -> SampledClip | None:
    """Scales the whole clip by one factor; returns None where the face is too small already."""
    factor = size_px / footage.face_px
    if factor >= 1:
        return None
    frames = (
        frame._replace(halves=tuple(_smaller(half, factor) for half in frame.halves), face=_moved(frame.face, factor))
        for frame in footage.frames
    )
    return footage._replace(frames=tuple(frames))


def _smaller(rgb: Picture, factor: float) -> Picture:
    return np.asarray(cv2.resize(rgb, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8)


def _moved(face: DetectedFace, factor: float) -> DetectedFace:
    box = face.box
    edges = (factor * edge for edge in (box.left, box.top, box.right, box.bottom))
    return DetectedFace(FaceBox(*edges), face.confidence, (face.landmarks * factor).astype(np.float32))
