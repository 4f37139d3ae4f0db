"""Data sets: tables (`stills.csv`, `video_pairs.csv`, `tool_pairs.csv`) or plain folders of real and fake files.

Every row has a group (a person, or the origin of a clip). Splits and folds go by group, never by file. Faces are found
once and cached, by file name, size and modification time.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import av
import cv2
import numpy as np

from detector.errors import TrainingRefused
from detector.types import DetectedFace, FaceBox

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from detector.protocols import FaceFinder

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".mkv", ".avi", ".webm"})
SHIP = "ship"
PAIRS = "pairs"
# Tool of the rows of a `video_pairs.csv` without a value for `tool`.
UNNAMED_TOOL = "video_pairs"
# The two files of a pair may differ in size, but not in aspect ratio (width / height).
_MAX_ASPECT_DIFFERENCE = 0.02


@dataclass(frozen=True, slots=True)
class Still:
    """One photo, or one video of one person.

    `label` is "real" or "fake", `split` "train" or "val", `use` "ship" or "research".
    """

    path: Path
    label: str
    group: str
    source: str
    split: str
    use: str
    licence: str


@dataclass(frozen=True, slots=True)
class Clip:
    """One video or picture.

    In a pair the left half is real and the right half the same recording with a swapped face. A pair of two files has
    the real one in `path` and the swapped one in `swap`. `tool` made the swap. `use` is "pairs" if the pair may be
    trained on and shipped, "research" if it is for evaluation only.
    """

    path: Path
    group: str
    licence: str
    paired: bool
    swap: Path | None = None
    tool: str = ""
    use: str = PAIRS


@dataclass(frozen=True, slots=True, eq=False)
class LocatedFace:
    """One face and its picture, uint8 (h, w, 3) RGB.

    `name` identifies the picture; `frame_number` is its index in the clip.
    """

    rgb: NDArray[np.uint8]
    face: DetectedFace
    group: str
    name: str = ""
    frame_number: int = 0


def read_stills(table: Path) -> list[Still]:
    """Reads a `stills.csv`; paths are relative to it. Raises TrainingRefused for missing columns."""
    return [
        Still(
            path=table.parent / row["path"],
            label=row["label"],
            group=f"{row['source']}/{row['group']}",
            source=row["source"],
            split=row["split"],
            use=row["use"],
            licence=row["licence"],
        )
        for row in _rows(table, ("path", "label", "source", "group", "split", "use", "licence"))
    ]


def read_pairs(table: Path) -> list[Clip]:
    """Reads a `video_pairs.csv`: clips with a real left half and a fake right half.

    A pair of two files has the fake one in the column `swap_path`. Raises TrainingRefused for missing columns.
    """
    rows = _rows(table, ("path", "group", "licence"))
    swaps = [table.parent / name if (name := row.get("swap_path")) else None for row in rows]
    return [
        Clip(
            table.parent / row["path"], row["group"], row["licence"], paired=True, swap=swap,
            tool=row.get("tool") or UNNAMED_TOOL,
        )
        for row, swap in zip(rows, swaps, strict=True)
    ]  # fmt: skip


def read_tool_pairs(table: Path) -> list[Clip]:
    """Reads a `tool_pairs.csv`: a real file, the same file with a swapped face, and the tool that swapped it.

    Paths are relative to the table. Raises TrainingRefused for missing columns.
    """
    return [
        Clip(
            table.parent / row["real"], row["group"], row["licence"], paired=True, swap=table.parent / row["fake"],
            tool=row["tool"], use=row["use"],
        )
        for row in _rows(table, ("real", "fake", "tool", "group", "use", "licence"))
    ]  # fmt: skip


def _rows(table: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    with table.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = set(columns) - set(reader.fieldnames or ())
        if missing:
            raise TrainingRefused(f"{table.name}: columns {sorted(missing)} are missing")
        return list(reader)


def read_folders(root: Path) -> list[Still]:
    """Returns pictures and videos under `root/{train,val}/{real,fake}`; every file is a group of its own."""
    return [
        Still(path, label, f"{split}/{label}/{path.stem}", "folder", split, SHIP, "the owner's")
        for split in ("train", "val")
        for label in ("real", "fake")
        for path in sorted((root / split / label).rglob("*"))
        if path.suffix.lower() in PICTURE_SUFFIXES | VIDEO_SUFFIXES
    ]


def refuse_unshippable(stills: Iterable[Still], research: bool) -> None:
    """Raises TrainingRefused if a row is not marked for shipping, unless this is a research run."""
    barred = sorted({still.source for still in stills if still.use != SHIP})
    if barred and not research:
        raise TrainingRefused(f"sources {barred} are not marked use={SHIP}: weights trained on them may not be shipped")


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """Reads a picture as uint8 (h, w, 3) RGB. Raises TrainingRefused for any other file."""
    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if bgr is None:
        raise TrainingRefused(f"{path.name}: not a readable picture")
    return np.ascontiguousarray(bgr[:, :, ::-1])


def sample_frames(path: Path, count: int) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yields up to `count` frames, evenly spread over the clip: number and uint8 (h, w, 3) RGB."""
    yield from decode_frames(path, spread_frame_numbers(path, count))


def spread_frame_numbers(path: Path, count: int) -> list[int]:
    """Returns the numbers of up to `count` frames, evenly spread over the clip."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        total = stream.frames or sum(1 for _ in container.decode(stream))
    return [round(place) for place in np.linspace(0, total - 1, min(count, total))]


def decode_frames(path: Path, places: Collection[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yields the frames with these numbers: number and uint8 (h, w, 3) RGB."""
    wanted = set(places)
    with av.open(str(path)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index in wanted:
                yield index, np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)


def read_frames(clip: Clip, places: Collection[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yields the frames with these numbers: number and uint8 (h, w, 3) RGB; pairs of two files side by side.

    The larger of two files is scaled down to the size of the smaller. Ends where the shorter file ends. Raises
    TrainingRefused for two files of different aspect ratios.
    """
    if clip.swap is None:
        yield from decode_frames(clip.path, places)
        return
    both = decode_frames(clip.path, places), decode_frames(clip.swap, places)
    for (place, real), (_, swapped) in zip(*both, strict=False):
        if abs(real.shape[1] / real.shape[0] - swapped.shape[1] / swapped.shape[0]) > _MAX_ASPECT_DIFFERENCE:
            raise TrainingRefused(f"{clip.path.name} and {clip.swap.name}: expected pictures of one aspect ratio")
        yield place, np.concatenate(of_one_size([real, swapped]), axis=1)


def of_one_size(pictures: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
    """Returns the pictures at the size of the smallest, each uint8 (h, w, 3)."""
    height, width = min((picture.shape[:2] for picture in pictures), key=lambda shape: shape[0] * shape[1])
    return [
        picture if picture.shape[:2] == (height, width)
        else np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        for picture in pictures
    ]  # fmt: skip


def split_halves(clip: Clip, rgb: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], ...]:
    """Returns the frame or, for a pair, its left (real) and right (fake) half."""
    if not clip.paired:
        return (rgb,)
    middle = rgb.shape[1] // 2
    return np.ascontiguousarray(rgb[:, :middle]), np.ascontiguousarray(rgb[:, middle : 2 * middle])


class FaceLocator:
    """Finds the largest face of pictures and caches it in a JSON file."""

    def __init__(self, finder: FaceFinder, cache: Path) -> None:
        self._finder = finder
        self._cache = cache
        self._known: dict[str, list[float] | None] = json.loads(cache.read_text()) if cache.is_file() else {}

    def save(self) -> None:
        """Writes the cache."""
        self._cache.parent.mkdir(parents=True, exist_ok=True)
        self._cache.write_text(json.dumps(self._known))

    def locate(self, key: str, rgb: NDArray[np.uint8]) -> DetectedFace | None:
        """Returns the largest face of an RGB uint8 (h, w, 3) picture, or None. `key` identifies the picture."""
        if key not in self._known:
            faces = self._finder.find(rgb)
            self._known[key] = _numbers(faces[0]) if faces else None
        numbers = self._known[key]
        return None if numbers is None else _face(numbers)


def _numbers(face: DetectedFace) -> list[float]:
    box = face.box
    return [box.left, box.top, box.right, box.bottom, face.confidence, *map(float, face.landmarks.ravel())]


def _face(numbers: list[float]) -> DetectedFace:
    landmarks = np.array(numbers[5:], dtype=np.float32).reshape(5, 2)
    return DetectedFace(FaceBox(*numbers[:4]), numbers[4], landmarks)


def still_faces(stills: Iterable[Still], locator: FaceLocator, frames: int = 1) -> list[LocatedFace]:
    """Returns the largest face of each photo and of `frames` frames of each video, where there is one."""
    found = []
    for still, key, rgb in _pictures(stills, frames):
        face = locator.locate(key, rgb)
        if face is not None:
            found.append(LocatedFace(rgb, face, still.group, key))
    locator.save()
    return found


def _pictures(stills: Iterable[Still], frames: int) -> Iterator[tuple[Still, str, NDArray[np.uint8]]]:
    for still in stills:
        if still.path.suffix.lower() in VIDEO_SUFFIXES:
            for index, (_, rgb) in enumerate(sample_frames(still.path, frames)):
                yield still, f"{_key(still.path)}#{index}/{frames}", rgb
        else:
            yield still, _key(still.path), read_rgb(still.path)


def clip_faces(clip: Clip, locator: FaceLocator, count: int) -> list[tuple[LocatedFace, LocatedFace | None]]:
    """Returns the faces of sampled frames: (real, its swap with the same box) for a pair, (real, None) otherwise.

    Raises TrainingRefused for two files of different aspect ratios.
    """
    found = []
    for index, (place, rgb) in enumerate(read_frames(clip, spread_frame_numbers(clip.path, count))):
        halves = split_halves(clip, rgb)
        face = locator.locate(_face_key(clip, halves[0], f"#{index}/{count}"), halves[0])
        if face is not None:
            real, *swapped = (LocatedFace(half, face, clip.group, frame_number=place) for half in halves)
            found.append((real, swapped[0] if swapped else None))
    locator.save()
    return found


def _face_key(clip: Clip, rgb: NDArray[np.uint8], suffix: str) -> str:
    """Returns the cache key of a frame. It holds the size for pairs of two files, since a frame may be scaled."""
    size = "" if clip.swap is None else f"{rgb.shape[1]}x{rgb.shape[0]}"
    return f"{_key(clip.path)}{size}{suffix}"


def frame_key(path: Path, frame_number: int) -> str:
    """Returns the cache key of a frame for a `FaceLocator`."""
    return f"{_key(path)}@{frame_number}"


def _key(path: Path) -> str:
    state = path.stat()
    return f"{path.name}:{state.st_size}:{state.st_mtime_ns}"


def drop_groups(items: Iterable[Any], groups: Collection[str], group_of: Callable[[Any], str]) -> list[Any]:
    """Returns the items outside `groups`; a name matches a whole group or its part after the source."""
    return [item for item in items if group_of(item) not in groups and group_of(item).split("/")[-1] not in groups]
