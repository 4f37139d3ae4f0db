"""Pictures to crops: every training sample is made here, once, by the crop function that serves.

A sample is a 224 px crop with its label, group and covariates. Samples of one kind lie in one memory-mapped file, so
that a run that was stopped goes on where it was.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from detector.errors import FaceNotCroppable
from detector.frequency import FEATURE_COUNT, frequency_features
from detector.preprocess import CROP_SCALE, crop_face, measure_quality
from detector.training.data import degradations, face_blending
from detector.types import CROP_SIZE_PX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from detector.training.data.datasets import LocatedFace
    from detector.training.data.fake_families import PseudoFakeFactory
    from detector.types import FaceCrop

MIN_FACE_PX = 64.0
# A crop that is mostly repeated border looks like no call.
_MIN_INSIDE = 0.85
_MATCHED_SHARE = 0.5
_CODE_VERSION = 4
MASK_SIDE = 14
UNKNOWN = 255

SAMPLE_ROW = np.dtype(
    [
        ("label", "u1"),
        ("pair", "i4"),
        ("kind", "U8"),
        ("group", "U64"),
        ("face_px", "f4"),
        ("sharpness", "f4"),
        ("degraded", "?"),
        ("frequency", "f4", (FEATURE_COUNT,)),
    ]
)


@dataclass(frozen=True, slots=True, eq=False)
class SampleSet:
    """`rgb` uint8 (n, 224, 224, 3) RGB, on disk; `rows` one record each, with the fields of `SAMPLE_ROW`.

    `masks` uint8 (n, 14, 14): how much of each cell was replaced, in 0..254; 255 where that is not known.
    """

    rgb: NDArray[np.uint8]
    rows: NDArray[Any]
    masks: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True, eq=False)
class FaceSample:
    """One crop with what is known of it."""

    crop: FaceCrop
    label: int
    pair: int
    kind: str
    group: str
    degraded: bool
    mask: NDArray[np.uint8] | None = None


@dataclass(frozen=True, slots=True)
class SampleRecipe:
    """What decides a file of samples; another recipe is another file. `families` says how pseudo-fakes are made."""

    name: str
    count: int
    seed: int
    sources: str
    variants: int = 1
    families: str = ""


def is_usable(face: LocatedFace) -> bool:
    """Large enough, and its crop lies mostly on the picture."""
    box = face.face.box
    if min(box.width, box.height) < MIN_FACE_PX:
        return False
    half = CROP_SCALE * max(box.width, box.height) / 2
    (x, y), (height, width) = box.centre, face.rgb.shape[:2]
    across = min(x + half, width) - max(x - half, 0)
    down = min(y + half, height) - max(y - half, 0)
    return bool(across * down >= _MIN_INSIDE * (2 * half) ** 2)


def pseudo_fake_pair(factory: PseudoFakeFactory, seed: tuple[int, int]) -> list[FaceSample]:
    """The real and the fake crop of pair `seed[1]`, degraded alike."""
    rng = np.random.default_rng(seed)
    pair, target = factory.pair(rng)
    call = degradations.draw(rng, min(target.face.box.width, target.face.box.height))
    made = []
    for label, rgb in enumerate((pair.real, pair.fake)):
        crop = crop_face(*degradations.apply(rgb, pair.face, call))
        mask = replaced_cells(pair, call) if label else np.zeros((MASK_SIDE, MASK_SIDE), np.uint8)
        made.append(FaceSample(crop, label, seed[1], pair.kind, target.group, degraded=True, mask=mask))
    return made


def unrelated_pair(
    reals: Sequence[LocatedFace], fakes: Sequence[LocatedFace], seed: tuple[int, int]
) -> list[FaceSample]:
    """A real and a fake face that have nothing to do with each other, degraded alike."""
    rng = np.random.default_rng(seed)
    drawn = [faces[int(rng.integers(len(faces)))] for faces in (reals, fakes)]
    call = degradations.draw(rng, min(min(item.face.box.width, item.face.box.height) for item in drawn))
    crops = [crop_face(*degradations.apply(item.rgb, item.face, call)) for item in drawn]
    return [
        FaceSample(crop, label, seed[1], "folder", item.group, degraded=True)
        for label, (crop, item) in enumerate(zip(crops, drawn, strict=True))
    ]


def replaced_cells(pair: face_blending.BlendedPair, call: degradations.Degradation) -> NDArray[np.uint8]:
    """(14, 14) in 0..254: the pair's mask where the crop of its degraded picture has it."""
    levels = np.repeat(np.rint(pair.mask * (UNKNOWN - 1)).astype(np.uint8)[:, :, None], 3, axis=2)
    factor = min(1.0, call.face_px / min(pair.face.box.width, pair.face.box.height))
    small, face = degradations.scaled(levels, pair.face, factor)
    crop = crop_face(small, degradations.jittered(face, call.box_jitter))
    return np.asarray(cv2.resize(crop.rgb[:, :, 0], (MASK_SIDE, MASK_SIDE), interpolation=cv2.INTER_AREA), np.uint8)


def clip_samples(
    real: LocatedFace, fake: LocatedFace | None, *, pair: int, seed: int, variants: int
) -> list[FaceSample]:
    """Crops of one frame of footage and of its swap, if any: as they came, then `variants - 1` degraded ones.

    Halves of a pair are degraded alike, but for this: real-time swaps are softer than what they replace, and softness
    is no proof, so in half of the variants one half is first brought to about the sharpness of the other.
    """
    kind = "clip" if fake is not None else "call"
    halves = [(0, real)] if fake is None else [(0, real), (1, fake)]
    made = [FaceSample(crop_face(face.rgb, face.face), label, pair, kind, real.group, False) for label, face in halves]
    for variant in range(1, variants):
        rng = np.random.default_rng((seed, pair, variant))
        mirror = rng.random() < 0.5
        call = degradations.draw(rng, min(real.face.box.width, real.face.box.height))
        is_matched = fake is not None and rng.random() < _MATCHED_SHARE
        views = degradations.match_sharpness(rng, halves) if is_matched else halves
        for label, face in views:
            view = face_blending.mirrored(face) if mirror else face
            crop = crop_face(*degradations.apply(view.rgb, view.face, call))
            made.append(FaceSample(crop, label, pair, kind, real.group, True))
    return made


def make_samples(
    cache: Path,
    recipe: SampleRecipe,
    tasks: Sequence[Callable[[], list[FaceSample]]],
    progress: Callable[[str, float], None],
) -> SampleSet:
    """Run the tasks on threads (codecs and OpenCV let go of the interpreter) and keep what they give, in order."""
    stamp_file = cache / f"{recipe.name}.json"
    known = load_cached(cache, recipe)
    if known is not None:
        return known
    stamp_file.unlink(missing_ok=True)
    cache.mkdir(parents=True, exist_ok=True)
    crops: list[NDArray[np.uint8]] = []
    rows: list[tuple[Any, ...]] = []
    masks: list[NDArray[np.uint8]] = []
    for done, sample in _run(tasks):
        crops.append(sample.crop.rgb)
        rows.append(_row(sample))
        masks.append(np.full((MASK_SIDE, MASK_SIDE), UNKNOWN, np.uint8) if sample.mask is None else sample.mask)
        progress(f"samples: {recipe.name}", done / len(tasks))
    np.save(cache / f"{recipe.name}.rgb.npy", _stacked(crops, (CROP_SIZE_PX, CROP_SIZE_PX, 3)))
    np.save(cache / f"{recipe.name}.masks.npy", _stacked(masks, (MASK_SIDE, MASK_SIDE)))
    np.save(cache / f"{recipe.name}.rows.npy", np.array(rows, dtype=SAMPLE_ROW))
    stamp_file.write_text(_stamp(recipe))
    return _load(cache, recipe)


def _stacked(pictures: list[NDArray[np.uint8]], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    return np.stack(pictures) if pictures else np.zeros((0, *shape), np.uint8)


def _load(cache: Path, recipe: SampleRecipe) -> SampleSet:
    parts = [cache / f"{recipe.name}.{part}.npy" for part in ("rgb", "rows", "masks")]
    return SampleSet(np.load(parts[0], mmap_mode="r"), np.load(parts[1]), np.load(parts[2]))


def load_cached(cache: Path, recipe: SampleRecipe) -> SampleSet | None:
    """The samples of an earlier run with the same recipe, if there are any."""
    stamp_file = cache / f"{recipe.name}.json"
    if not stamp_file.is_file() or stamp_file.read_text() != _stamp(recipe):
        return None
    return _load(cache, recipe)


def _stamp(recipe: SampleRecipe) -> str:
    return json.dumps({**asdict(recipe), "code": _CODE_VERSION}, sort_keys=True)


def _run(tasks: Iterable[Callable[[], list[FaceSample]]], num_threads: int = 2) -> Iterator[tuple[int, FaceSample]]:
    with ThreadPoolExecutor(num_threads) as pool:
        for done, made in enumerate(pool.map(_attempt, tasks), 1):
            for sample in made:
                yield done, sample


def _attempt(task: Callable[[], list[FaceSample]]) -> list[FaceSample]:
    """A pair whose landmarks do not fit, or whose face is off the frame, is left out whole."""
    try:
        return task()
    except (FaceNotCroppable, ValueError):
        return []


def _row(sample: FaceSample) -> tuple[Any, ...]:
    crop = sample.crop
    features = frequency_features(crop.native_rgb, crop.face_px)
    return (
        sample.label,
        sample.pair,
        sample.kind,
        sample.group,
        crop.face_px,
        measure_quality(crop).sharpness,
        sample.degraded,
        np.full(FEATURE_COUNT, np.nan, np.float32) if features is None else features,
    )

