"""Training samples: 224 px crops with label, group and covariates, made once by the crop function of the service.

Samples of one recipe are cached in memory-mapped files, which an interrupted run reuses.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from detector.errors import FaceNotCroppable
from detector.face_crop import CROP_SCALE, crop_face, measure_quality
from detector.frequency import FEATURE_COUNT, frequency_features
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
# Smallest share of a crop inside the picture; calls rarely show less of a face.
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
    """Samples of one recipe: `rgb` uint8 (n, 224, 224, 3) RGB, memory-mapped; `rows` (n,) of dtype `SAMPLE_ROW`.

    `masks` uint8 (n, 14, 14) is the replaced share of each cell in 0..254, 255 where unknown.
    """

    rgb: NDArray[np.uint8]
    rows: NDArray[Any]
    masks: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True, eq=False)
class FaceSample:
    """One crop with its label, pair number, kind and group; `mask` is None where unknown."""

    crop: FaceCrop
    label: int
    pair: int
    kind: str
    group: str
    degraded: bool
    mask: NDArray[np.uint8] | None = None


@dataclass(frozen=True, slots=True)
class SampleRecipe:
    """Everything that determines a set of samples; the cache is valid for an equal recipe. `families` is JSON."""

    name: str
    count: int
    seed: int
    sources: str
    variants: int = 1
    families: str = ""


def is_usable(face: LocatedFace) -> bool:
    """Returns whether the face is at least 64 px, with 85 % of its crop inside the picture."""
    box = face.face.box
    if min(box.width, box.height) < MIN_FACE_PX:
        return False
    half = CROP_SCALE * max(box.width, box.height) / 2
    (x, y), (height, width) = box.centre, face.rgb.shape[:2]
    across = min(x + half, width) - max(x - half, 0)
    down = min(y + half, height) - max(y - half, 0)
    return bool(across * down >= _MIN_INSIDE * (2 * half) ** 2)


def pseudo_fake_pair(factory: PseudoFakeFactory, seed: tuple[int, int]) -> list[FaceSample]:
    """Returns the real and the fake sample of pair `seed[1]`, degraded alike. Raises FaceNotCroppable, ValueError."""
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
    """Returns a real and an unrelated fake sample, degraded alike. Raises FaceNotCroppable."""
    rng = np.random.default_rng(seed)
    drawn = [faces[int(rng.integers(len(faces)))] for faces in (reals, fakes)]
    call = degradations.draw(rng, min(min(item.face.box.width, item.face.box.height) for item in drawn))
    crops = [crop_face(*degradations.apply(item.rgb, item.face, call)) for item in drawn]
    return [
        FaceSample(crop, label, seed[1], "folder", item.group, degraded=True)
        for label, (crop, item) in enumerate(zip(crops, drawn, strict=True))
    ]


def replaced_cells(pair: face_blending.BlendedPair, call: degradations.Degradation) -> NDArray[np.uint8]:
    """Returns uint8 (14, 14) in 0..254: the mask of the pair on the crop of its degraded picture."""
    levels = np.repeat(np.rint(pair.mask * (UNKNOWN - 1)).astype(np.uint8)[:, :, None], 3, axis=2)
    factor = min(1.0, call.face_px / min(pair.face.box.width, pair.face.box.height))
    small, face = degradations.scaled(levels, pair.face, factor)
    crop = crop_face(small, degradations.jittered(face, call.box_jitter))
    return np.asarray(cv2.resize(crop.rgb[:, :, 0], (MASK_SIDE, MASK_SIDE), interpolation=cv2.INTER_AREA), np.uint8)


def clip_samples(
    real: LocatedFace, fake: LocatedFace | None, *, pair: int, seed: int, variants: int
) -> list[FaceSample]:
    """Returns samples of one frame and its swap, if any: the originals, then `variants - 1` degraded ones.

    Both halves of a pair are degraded alike. Real-time swaps are softer than the original, and softness must not become
    a cue, so in half of the variants the sharpness of one half is first matched to the other.
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
    """Runs the tasks on threads and caches their samples, in order; reads the cache if the recipe is equal."""
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
    """Returns the cached samples of an equal recipe, or None."""
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
    """Returns the samples of a task, or none where landmarks do not fit or a face is off the frame."""
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

