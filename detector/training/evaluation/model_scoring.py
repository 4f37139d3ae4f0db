"""Scoring of evaluation data: faces of swapped footage, real calls and pseudo-fakes, uncorrupted and corrupted.

Each face is scored by a network that did not see its group, where there is one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from detector.config import DetectorConfig, Precision
from detector.errors import FaceNotCroppable
from detector.face_crop import crop_face, measure_quality, stack_crops
from detector.factory import build_finder
from detector.frequency import FEATURE_COUNT, frequency_features
from detector.openvino_scorer import compile_for_cpu
from detector.training.data import datasets, fake_families, sample_collection, samples
from detector.training.evaluation.corruptions import Corruption, Transcoding, recode_clip
from detector.xception_openvino import HEAD_BIAS, HEAD_KERNEL, build_graph

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from detector.training.config import TrainConfig
    from detector.training.data.datasets import Clip, LocatedFace
    from detector.training.data.samples import FaceSample
    from detector.types import FaceCrop, NetworkInput

    Arrays = Mapping[str, NDArray[Any]]
    Progress = Callable[[str, float], None]

PAIRS, CALLS, TOOLS = "swapped footage", "real calls", "other tools"
_BATCH = 8
_RING = 1

SCORE_ROW = np.dtype(
    [
        ("label", "u1"), ("group", "U64"), ("family", "U24"), ("condition", "U24"), ("logit", "f4"), ("contrast", "f4"),
        ("face_px", "f4"), ("sharpness", "f4"), ("luminance", "f4"),
        ("clip", "U120"), ("tool", "U40"),
        ("frequency", "f4", (FEATURE_COUNT,)),
    ]
)  # fmt: skip


class LabelledFace(NamedTuple):
    """One face to score, with label (0 real, 1 fake), family of data, and clip."""

    face: LocatedFace
    label: int
    family: str
    clip: Clip


@dataclass(frozen=True, slots=True, eq=False)
class FoldNetworks:
    """A network and its cross-validation folds. A group in `fold_of` is scored by its fold network, others by `whole`.

    `start` is the network before training where it is known, else the network itself.
    """

    whole: Arrays
    folds: tuple[Arrays, ...]
    fold_of: Mapping[str, int]
    network_input: NetworkInput
    start: Arrays

    def by_network(self, groups: NDArray[np.str_]) -> Iterator[tuple[Arrays, NDArray[np.intp]]]:
        """Yields every network with the indices of the rows that it scores."""
        fold = np.array([self.fold_of.get(str(group), -1) for group in groups], dtype=int)
        for index, arrays in ((-1, self.whole), *enumerate(self.folds)):
            rows = np.flatnonzero(fold == index)
            if len(rows):
                yield arrays, rows


def collect_faces(config: TrainConfig, progress: Progress) -> tuple[list[LabelledFace], list[FaceSample]]:
    """Returns faces of swapped and real footage, and pseudo-fake samples of the people kept for validation.

    The samples include fakes from folders, if any. Raises TrainingRefused.
    """
    locator = datasets.FaceLocator(build_finder(DetectorConfig()), config.cache_dir / "faces.json")
    stills, pairs, calls = sample_collection.read_sources(config)
    footage = []
    for index, clip in enumerate((*pairs, *calls)):
        progress("footage", index / max(1, len(pairs) + len(calls)))
        footage += list(_of_clip(clip, locator, config.clip_frames))
    val = [still for still in stills if still.split == "val"]
    faces, fakes = sample_collection.faces_of(config, "val", val, locator, progress)
    factory = fake_families.PseudoFakeFactory(faces, fake_families.families({}))
    pseudo_fakes = [
        sample for index in range(config.val_pairs) for sample in _attempt(factory, (config.seed + 7, index))
    ]
    for index in range(config.val_pairs if fakes else 0):
        pseudo_fakes += samples.unrelated_pair(faces, fakes, (config.seed + 7, index))
    return footage, pseudo_fakes


def _of_clip(clip: Clip, locator: datasets.FaceLocator, frames: int) -> Iterator[LabelledFace]:
    family = PAIRS if clip.paired else CALLS
    for real, swapped in datasets.clip_faces(clip, locator, frames):
        if samples.is_usable(real):
            yield LabelledFace(real, 0, family, clip)
            if swapped is not None:
                yield LabelledFace(swapped, 1, family, clip)


def _attempt(factory: fake_families.PseudoFakeFactory, seed: tuple[int, int]) -> list[FaceSample]:
    try:
        return samples.pseudo_fake_pair(factory, seed)
    except (FaceNotCroppable, ValueError):
        return []


def score_faces(networks: FoldNetworks, faces: Sequence[LabelledFace], corruption: Corruption) -> NDArray[Any]:
    """Scores faces under a corruption; returns one row of `SCORE_ROW` per face."""
    crops = [crop_face(corruption.apply(item.face.rgb), item.face.face) for item in faces]
    return _rows(networks, [_description(item, str(corruption)) for item in faces], crops)


def score_samples(networks: FoldNetworks, pseudo_fakes: Sequence[FaceSample]) -> NDArray[Any]:
    """Scores pseudo-fake samples; returns rows of `SCORE_ROW`."""
    descriptions = [(sample.label, sample.group, sample.kind, str(Corruption()), "", "") for sample in pseudo_fakes]
    return _rows(networks, descriptions, [sample.crop for sample in pseudo_fakes])


def score_recoded(
    networks: FoldNetworks, faces: Sequence[LabelledFace], coding: Transcoding, folder: Path
) -> NDArray[Any]:
    """Scores the same faces of transcoded clips; returns rows of `SCORE_ROW`."""
    descriptions: list[tuple[Any, ...]] = []
    crops: list[FaceCrop] = []
    for clip, members in _by_clip(faces).items():
        for item, rgb in _same_frames(recode_clip(clip, coding, folder), members):
            crops.append(crop_face(rgb, item.face.face))
            descriptions.append(_description(item, str(coding)))
    return _rows(networks, descriptions, crops)


def _description(item: LabelledFace, condition: str) -> tuple[Any, ...]:
    """Returns label, group, family, condition, clip and tool of a face.

    A pair is named after its swapped file, because several pairs may share one real file.
    """
    clip = item.clip
    return (item.label, item.face.group, item.family, condition, (clip.swap or clip.path).stem, clip.tool)


def _by_clip(faces: Sequence[LabelledFace]) -> dict[Clip, list[LabelledFace]]:
    found: dict[Clip, list[LabelledFace]] = {}
    for item in faces:
        found.setdefault(item.clip, []).append(item)
    return found


def _same_frames(clip: Clip, faces: Sequence[LabelledFace]) -> Iterator[tuple[LabelledFace, NDArray[np.uint8]]]:
    """Yields each face with the picture (h, w, 3) of its frame in `clip`, the transcoded file."""
    places = sorted({item.face.frame_number for item in faces})
    for place, rgb in datasets.read_frames(clip, places):
        halves = datasets.split_halves(clip, rgb)
        yield from ((item, halves[item.label]) for item in faces if item.face.frame_number == place)


def _rows(networks: FoldNetworks, descriptions: Sequence[tuple[Any, ...]], crops: Sequence[FaceCrop]) -> NDArray[Any]:
    rows = np.zeros(len(crops), SCORE_ROW)
    for index, (crop, (label, group, family, condition, clip, tool)) in enumerate(
        zip(crops, descriptions, strict=True)
    ):
        quality, spectrum = measure_quality(crop), frequency_features(crop.native_rgb, crop.face_px)
        known = np.full(FEATURE_COUNT, np.nan, np.float32) if spectrum is None else spectrum
        rows[index] = (
            label, group, family, condition, 0, 0, crop.face_px, quality.sharpness, quality.luminance,
            clip, tool, known,
        )  # fmt: skip
    for arrays, places in networks.by_network(rows["group"]):
        network = EvidenceNetwork(arrays, networks.network_input)
        evidence = network.evidence([crops[place] for place in places])
        inner = evidence[:, _RING:-_RING, _RING:-_RING]
        ring = (evidence.sum(axis=(1, 2)) - inner.sum(axis=(1, 2))) / (evidence[0].size - inner[0].size)
        rows["logit"][places] = evidence.mean(axis=(1, 2)) + network.bias
        rows["contrast"][places] = inner.mean(axis=(1, 2)) - ring
    return rows


def score_untrained(networks: FoldNetworks, faces: Sequence[LabelledFace], seed: int = 0) -> NDArray[np.float32]:
    """Returns the logits (n,) of a random head on the network before training: a baseline for every result."""
    kernel = np.random.default_rng(seed).normal(0, 0.02, np.asarray(networks.whole[HEAD_KERNEL]).shape)
    arrays = {**networks.start, HEAD_KERNEL: kernel.astype(np.float32)}
    crops = [crop_face(item.face.rgb, item.face.face) for item in faces]
    return np.asarray(EvidenceNetwork(arrays, networks.network_input).evidence(crops).mean(axis=(1, 2)), np.float32)


class EvidenceNetwork:
    """One network as a compiled serving graph; the constructor takes seconds."""

    def __init__(self, arrays: Arrays, network_input: NetworkInput) -> None:
        self.bias = float(np.asarray(arrays[HEAD_BIAS]).ravel()[0])
        self._size_px = network_input.size_px
        graph = build_graph(arrays, network_input=network_input)
        self._request = compile_for_cpu(graph, 2, Precision.AUTO).create_infer_request()

    def evidence(self, crops: Sequence[FaceCrop]) -> NDArray[np.float32]:
        """Returns evidence maps (n, s, s)."""
        maps = [np.zeros((0, 1, 1), np.float32)] if not crops else []
        for start in range(0, len(crops), _BATCH):
            self._request.infer([stack_crops(crops[start : start + _BATCH], self._size_px)])
            maps.append(self._request.get_output_tensor(1).data.copy())
        return np.concatenate(maps)

    def logits(self, crops: Sequence[FaceCrop]) -> NDArray[np.float32]:
        """Returns logits (n,)."""
        return np.asarray(self.evidence(crops).mean(axis=(1, 2)) + self.bias, np.float32)
