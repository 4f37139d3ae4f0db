"""Clips sampled at a steady rate, as a call is, and what conditions make of the same instants."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import av
import cv2
import numpy as np

from detector.errors import FaceNotCroppable
from detector.preprocess import crop_face
from detector.training.data import datasets
from detector.training.evaluation.corruptions import Corruption, Transcoding, all_codings, all_corruptions, recode_clip
from detector.types import DetectedFace, FaceBox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    Picture = NDArray[np.uint8]

LONGEST_S = 60.0
# Of the face's shorter side, which is what its weight goes by; one size for each row of the table by size.
SIZES_PX = (48, 72, 104, 150)
_SLACK = 1e-6


class SampledFrame(NamedTuple):
    """One sampled instant: frame number `place`, media time since the first frame, and the face.

    `halves` are uint8 (h, w, 3) RGB: the picture, and of a pair its swap under the same box.
    """

    frame_number: int
    time_s: float
    face: DetectedFace
    halves: tuple[Picture, ...]


class SampledClip(NamedTuple):
    """The instants of a clip that show a face; `length_s` of media were looked through."""

    clip: datasets.Clip
    shots: tuple[SampledFrame, ...]
    length_s: float

    @property
    def face_px(self) -> float:
        """Median of the face's shorter side. Undefined without shots."""
        return float(np.median([min(shot.face.box.width, shot.face.box.height) for shot in self.shots]))


class FootageCondition(NamedTuple):
    """`made` gives footage under it, or None where the condition is none for this clip."""

    name: str
    apply: Callable[[SampledClip], SampledClip | None]


def sample_clip(
    clip: datasets.Clip, locator: datasets.FaceLocator, rate_hz: float, longest_s: float = LONGEST_S
) -> SampledClip:
    """A clip at `rate_hz`; `locator` remembers its faces, the largest of each frame."""
    shots, cell = [], -1
    times = dict(steady_times(clip.path, rate_hz, longest_s))
    for place, rgb in datasets.read_frames(clip, times):
        time_s, halves = times[place], datasets.split_halves(clip, rgb)
        cell = _cell(time_s, rate_hz)
        face = locator.locate(datasets.frame_key(clip.path, place), halves[0])
        if face is not None and _is_croppable(halves[0], face):
            shots.append(SampledFrame(place, time_s, face, halves))
    locator.save()
    return SampledClip(clip, tuple(shots), (cell + 1) / rate_hz)


def _is_croppable(rgb: Picture, face: DetectedFace) -> bool:
    try:
        crop_face(rgb, face)
    except FaceNotCroppable:
        return False
    return True


def steady_times(path: Path, rate_hz: float, longest_s: float) -> Iterator[tuple[int, float]]:
    """The first frame of each 1 / `rate_hz` of media: its number, and its time since the first frame."""
    first_s, last = None, -1
    with av.open(str(path)) as container:
        for place, frame in enumerate(container.decode(video=0)):
            if frame.time is None:
                continue
            first_s = frame.time if first_s is None else first_s
            time_s = frame.time - first_s
            if time_s > longest_s - _SLACK:
                return
            if _cell(time_s, rate_hz) > last:
                last = _cell(time_s, rate_hz)
                yield place, time_s


def _cell(time_s: float, rate_hz: float) -> int:
    return math.floor(time_s * rate_hz + _SLACK)


def corruption_conditions(levels: tuple[int, ...], folder: Path) -> list[FootageCondition]:
    """As it came, every corruption at the levels, and codecs at bitrates, kept as files in `folder`."""
    corruptions = (Corruption(), *all_corruptions(levels))
    kinds = [FootageCondition(str(kind), partial(_corrupted, kind)) for kind in corruptions]
    codings = [FootageCondition(str(coding), partial(_recoded, coding, folder)) for coding in all_codings(levels)]
    return [*kinds, *codings]


def size_conditions() -> list[FootageCondition]:
    """The same clips with smaller faces, where they are larger than that."""
    return [FootageCondition(f"face of {size_px} px", partial(_scaled, size_px)) for size_px in SIZES_PX]


def _corrupted(kind: Corruption, footage: SampledClip) -> SampledClip:
    shots = (shot._replace(halves=tuple(map(kind.apply, shot.halves))) for shot in footage.shots)
    return footage._replace(shots=tuple(shots))


def _recoded(coding: Transcoding, folder: Path, footage: SampledClip) -> SampledClip:
    clip, at = footage.clip, {shot.frame_number: shot for shot in footage.shots}
    frames = datasets.read_frames(recode_clip(clip, coding, folder), at)
    return footage._replace(shots=tuple(at[n]._replace(halves=datasets.split_halves(clip, rgb)) for n, rgb in frames))


def _scaled(size_px: int, footage: SampledClip) -> SampledClip | None:
    """One factor for the whole clip; never larger than it came."""
    factor = size_px / footage.face_px
    if factor >= 1:
        return None
    shots = (
        shot._replace(halves=tuple(_smaller(half, factor) for half in shot.halves), face=_moved(shot.face, factor))
        for shot in footage.shots
    )
    return footage._replace(shots=tuple(shots))


def _smaller(rgb: Picture, factor: float) -> Picture:
    return np.asarray(cv2.resize(rgb, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8)


def _moved(face: DetectedFace, factor: float) -> DetectedFace:
    box = face.box
    edges = (factor * edge for edge in (box.left, box.top, box.right, box.bottom))
    return DetectedFace(FaceBox(*edges), face.confidence, (face.landmarks * factor).astype(np.float32))
