"""Collection of all samples of a run: pseudo-fakes from photos, swapped footage, and real footage for evaluation."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from detector.config import DetectorConfig
from detector.errors import NoTrainingData, TrainingRefused
from detector.factory import build_finder
from detector.training.data import datasets, samples
from detector.training.data.fake_families import PseudoFakeFactory, families
from detector.training.data.latent_fakes import LatentCodec
from detector.training.data.swap_autoencoder import DrawSettings, draw_patches
from detector.training.data.tool_folds import refuse_shared_groups

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from detector.training.config import TrainConfig
    from detector.training.data.datasets import Clip, LocatedFace, Still
    from detector.training.data.fake_protocol import FakeFamily
    from detector.training.data.samples import FaceSample, SampleSet

    Progress = Callable[[str, float], None]

_MIN_FACES = 8
# A photo has one frame where a clip has many, so more degraded variants are made of it.
_STILL_VARIANTS = 4
_REAL_FOLDERS = ("video_real", "clips")


@dataclass(frozen=True, slots=True, eq=False)
class SampleCollection:
    """All samples of a run.

    `train` and `val` are pseudo-fake pairs of different people, `clips` pairs from swapped footage. `tools` are the
    pairs of other swap tools that may be trained on; `tool_clips` lists all their files, also those for evaluation
    only. `calls` is real footage, never trained on. `licences` counts the training files by licence.
    """

    train: SampleSet
    val: SampleSet
    clips: SampleSet
    tools: SampleSet
    tool_clips: tuple[Clip, ...]
    calls: SampleSet
    licences: dict[str, int]


def collect(config: TrainConfig, progress: Progress) -> SampleCollection:
    """Finds the faces and makes all samples, or reads them from the cache. Raises TrainingRefused."""
    stills, pairs, real_clips = read_sources(config)
    tool_clips = tool_sources(config)
    refuse_shared_groups(tool_clips, {clip.group for clip in pairs})
    used = [clip for clip in tool_clips if config.research or clip.use == datasets.PAIRS]
    datasets.refuse_unshippable(stills, config.research)
    locator = datasets.FaceLocator(build_finder(DetectorConfig()), config.cache_dir / "faces.json")
    by_split = {split: [still for still in stills if still.split == split] for split in ("train", "val")}
    found = {split: faces_of(config, split, by_split[split], locator, progress) for split in ("train", "val")}
    faces = {split: found[split][0] for split in found}
    settings = DrawSettings(config.autoencoder_steps, config.seed, config.cache_dir)
    codec = LatentCodec(config.decoder_dir) if config.decoder_dir is not None else None
    kinds = families(draw_patches(faces["train"], faces["val"], settings, progress), codec)
    made = {split: _pseudo(config, split, *found[split], kinds=kinds, progress=progress) for split in ("train", "val")}
    return SampleCollection(
        train=made["train"],
        val=made["val"],
        clips=_footage(config, "clips", pairs, locator, progress),
        tools=_footage(config, "tools", used, locator, progress),
        tool_clips=tuple(tool_clips),
        calls=_footage(config, "calls", real_clips, locator, progress),
        licences=_licences([*by_split["train"], *pairs, *used]),
    )


def read_sources(config: TrainConfig) -> tuple[list[Still], list[Clip], list[Clip]]:
    """Returns photos, swapped clips and real clips of the data folder, without the excluded groups.

    Raises NoTrainingData where there are no photos.
    """
    table, pair_table = config.data_dir / "stills.csv", config.data_dir / "video_pairs.csv"
    stills = datasets.read_folders(config.data_dir)
    if table.is_file():
        listed = datasets.read_stills(table)
        allowed = (still for still in listed if config.research or still.use == datasets.SHIP)
        stills += [still for still in allowed if still.label == "real"]
    if not stills:
        raise NoTrainingData(f"{config.data_dir}: expected stills.csv or {{train,val}}/{{real,fake}} with pictures")
    pairs = datasets.read_pairs(pair_table) if pair_table.is_file() else []
    real_clips = [datasets.Clip(path, path.stem, "not trained on", paired=False) for path in real_footage(config)]
    kept = datasets.drop_groups(stills, config.exclude_groups, lambda still: still.group)
    return kept, datasets.drop_groups(pairs, config.exclude_groups, lambda clip: clip.path.stem), real_clips


def tool_sources(config: TrainConfig) -> list[Clip]:
    """Returns all pairs of `tool_pairs.csv`, if it exists, without the excluded groups."""
    table = config.data_dir / "tool_pairs.csv"
    clips = datasets.read_tool_pairs(table) if table.is_file() else []
    return datasets.drop_groups(clips, config.exclude_groups, lambda clip: clip.group)


def real_footage(config: TrainConfig) -> list[Path]:
    """Returns the paths of the real clips in the data folder, sorted."""
    return sorted(
        path for folder in _REAL_FOLDERS for path in (config.data_dir / folder).glob("*")
        if path.suffix.lower() in datasets.VIDEO_SUFFIXES
    )


def faces_of(
    config: TrainConfig, split: str, stills: list[Still], locator: datasets.FaceLocator, progress: Progress
) -> tuple[list[LocatedFace], list[LocatedFace]]:
    """Returns the usable real and fake faces of a split; only folders contain fake photos.

    Raises TrainingRefused for fewer than eight real faces.
    """
    progress(f"faces: {split}", 0.0)
    labelled = ([still for still in stills if still.label == label] for label in ("real", "fake"))
    faces = (datasets.still_faces(rows, locator, config.clip_frames) for rows in labelled)
    real, fake = ([face for face in some if samples.is_usable(face)] for some in faces)
    if len(real) < _MIN_FACES:
        raise TrainingRefused(
            f"{split}: {len(real)} usable faces of at least {samples.MIN_FACE_PX:.0f} px, expected {_MIN_FACES} or more"
        )
    return real, fake


def _pseudo(
    config: TrainConfig,
    split: str,
    faces: list[LocatedFace],
    fakes: list[LocatedFace],
    *,
    kinds: Sequence[FakeFamily],
    progress: Progress,
) -> SampleSet:
    """Returns pseudo-fakes of all families but the held-out one, and as many pairs from folders of fakes, if any."""
    is_training = split == "train"
    count = config.train_pairs if is_training else config.val_pairs
    seed = config.seed if is_training else config.seed + 1_000_003
    held_out = config.held_out_family if is_training else ""
    try:
        factory = PseudoFakeFactory(faces, kinds, held_out)
    except ValueError as error:
        raise TrainingRefused(str(error)) from error
    made_of = json.dumps([[kind.name for kind in kinds], held_out, config.autoencoder_steps])
    recipe = samples.SampleRecipe(split, count, seed, _digest(f.name for f in (*faces, *fakes)), families=made_of)
    tasks = [partial(samples.pseudo_fake_pair, factory, (seed, index)) for index in range(count)]
    if fakes:
        tasks += [partial(samples.unrelated_pair, faces, fakes, (seed, count + index)) for index in range(count)]
    return samples.make_samples(config.cache_dir, recipe, tasks, progress)


def _footage(
    config: TrainConfig, name: str, clips: Sequence[Clip], locator: datasets.FaceLocator, progress: Progress
) -> SampleSet:
    names = _digest(clip.path.name for clip in clips)
    recipe = samples.SampleRecipe(name, config.clip_frames, config.seed, names, config.clip_variants)
    known = samples.load_cached(config.cache_dir, recipe)
    if known is not None:
        return known
    tasks: list[Callable[[], list[FaceSample]]] = []
    for index, clip in enumerate(clips):
        progress(f"faces: {name}", index / len(clips))
        is_still = clip.path.suffix.lower() in datasets.PICTURE_SUFFIXES
        variants = config.clip_variants * (_STILL_VARIANTS if is_still else 1)
        for real, fake in datasets.clip_faces(clip, locator, config.clip_frames):
            tasks.append(
                partial(samples.clip_samples, real, fake, pair=len(tasks), seed=config.seed, variants=variants)
            )
    return samples.make_samples(config.cache_dir, recipe, tasks, progress)


def _digest(names: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]


def _licences(items: Sequence[Still | Clip]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for item in items:
        counts[item.licence] = counts.get(item.licence, 0) + 1
    return counts
