"""Offsets between groups of real faces: how far skin tone or source alone shifts the logit of a network."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from detector.config import DetectorConfig
from detector.errors import FaceNotCroppable
from detector.face_crop import crop_face
from detector.factory import build_finder
from detector.training.data import datasets, degradations, samples
from detector.training.data.skin_tone import ita_degrees, tone_of
from detector.training.evaluation import model_scoring
from detector.training.evaluation.estimates import Estimate, bootstrap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from detector.training.config import TrainConfig
    from detector.training.data.datasets import LocatedFace
    from detector.training.evaluation.loaded_model import LoadedModel
    from detector.types import FaceCrop

    Rows = NDArray[Any]
    Floats = NDArray[np.floating[Any]]
    Progress = Callable[[str, float], None]

CAME, CALL = "as it came", "as in a call"
# In standard deviations within groups; a larger offset of a skin tone is a defect.
MAX_OFFSET = 0.3
_THRESHOLD_QUANTILE = 0.95
_MIN_FACES = 10

FACE_ROW = np.dtype(
    [("person", "U64"), ("source", "U32"), ("tone", "U16"), ("condition", "U16"), ("logit", "f8")]
)


@dataclass(frozen=True, slots=True)
class GroupOffset:
    """`offset` is the mean logit of the group less that of all other faces, in standard deviations within groups.

    `false_alarms` is the share of faces above the threshold that 5 % of all these faces exceed.
    """

    trait: str
    name: str
    faces: int
    people: int
    offset: Estimate
    false_alarms: float


def measure_groups(model: LoadedModel, config: TrainConfig, progress: Progress) -> dict[str, list[dict[str, Any]]]:
    """Returns the offsets of real photos that were not trained on, by condition; empty without such photos."""
    faces = unseen_faces(config, progress)
    rows = _rows(model, faces)
    return {
        str(condition): [asdict(found) for found in offsets(rows[rows["condition"] == condition])]
        for condition in dict.fromkeys(rows["condition"].tolist())
    }


def unseen_faces(config: TrainConfig, progress: Progress) -> list[tuple[str, LocatedFace]]:
    """Returns source and face of the real photos for validation and, if not a research run, of research-only photos."""
    table = config.data_dir / "stills.csv"
    if not table.is_file():
        return []
    stills = [
        still for still in datasets.read_stills(table)
        if still.label == "real" and (still.split == "val" or (still.use != datasets.SHIP and not config.research))
    ]  # fmt: skip
    progress("groups of real faces", 0.0)
    locator = datasets.FaceLocator(build_finder(DetectorConfig()), config.cache_dir / "faces.json")
    source_of = {still.group: still.source for still in stills}
    kept = datasets.drop_groups(stills, config.exclude_groups, lambda still: still.group)
    return [
        (source_of[face.group], face) for face in datasets.still_faces(kept, locator) if samples.is_usable(face)
    ]


def _rows(model: LoadedModel, faces: Sequence[tuple[str, LocatedFace]]) -> Rows:
    descriptions, crops = [], []
    for index, (source, face) in enumerate(faces):
        for condition, crop in _crops(face, index):
            tone = tone_of(ita_degrees(crop.rgb)) if condition == CAME else ""
            descriptions.append((face.group, source, tone, condition))
            crops.append(crop)
    rows = np.zeros(len(descriptions), FACE_ROW)
    network = model_scoring.EvidenceNetwork(model.networks.whole, model.networks.network_input)
    logits = network.logits(crops)
    for index, (group, source, tone, condition) in enumerate(descriptions):
        # The tone is that of the original photo, because call degradations change the light.
        photo_tone = tone or str(rows[index - 1]["tone"])
        rows[index] = (group, source, photo_tone, condition, logits[index])
    return rows


def _crops(face: LocatedFace, seed: int) -> Iterator[tuple[str, FaceCrop]]:
    """Yields the crop of the original, then of one random call degradation; none if the face leaves the frame."""
    call = degradations.draw(np.random.default_rng((seed, 17)), min(face.face.box.width, face.face.box.height))
    try:
        came, called = (
            crop_face(face.rgb, face.face), crop_face(*degradations.apply(face.rgb, face.face, call)),
        )  # fmt: skip
    except FaceNotCroppable:
        return
    yield CAME, came
    yield CALL, called


def offsets(rows: Rows) -> list[GroupOffset]:
    """Returns offsets by skin tone, then by source, of rows of `FACE_ROW`, for groups of at least ten faces."""
    return [
        _offset(rows, trait, name)
        for trait in ("tone", "source")
        for name in dict.fromkeys(np.unique(rows[trait]).tolist())
        if _MIN_FACES <= np.sum(rows[trait] == name) < len(rows)
    ]


def _offset(rows: Rows, trait: str, name: str) -> GroupOffset:
    inside, logits = rows[trait] == name, rows["logit"]
    return GroupOffset(
        trait=trait,
        name=name,
        faces=int(inside.sum()),
        people=len(np.unique(rows["person"][inside])),
        offset=bootstrap(lambda picks: _distance(logits[picks], inside[picks]), rows["person"]),
        false_alarms=float(np.mean(logits[inside] > np.quantile(logits, _THRESHOLD_QUANTILE))),
    )


def _distance(logits: Floats, inside: NDArray[np.bool_]) -> float:
    """Returns the difference of means in pooled standard deviations; NaN where a side has fewer than two faces."""
    parts = logits[inside], logits[~inside]
    if min(len(part) for part in parts) < 2:
        return float("nan")
    pooled = sum(float(part.var(ddof=1)) * (len(part) - 1) for part in parts) / (len(logits) - 2)
    return float((parts[0].mean() - parts[1].mean()) / np.sqrt(pooled)) if pooled > 0 else 0.0
