"""The pictures on which our face finder is compared with the `mtcnn` package: from a data folder, or those shipped."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import TYPE_CHECKING

import av
import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Picture = NDArray[np.uint8]

CHECKOUT = Path(__file__).parents[2]
STILLS_PER_LABEL = 100
FRAMES_PER_CLIP = {"clips": 16, "video_real": 5, "video_pairs": 5}
# Only so much of a long clip is decoded.
DECODED_PER_FRAME = 40
SHIPPED_FRAMES = 60
COPY_SIDE_PX = 360
SHIPPED_HEIGHTS_PX = (360, 300, 240, 180, 120)


def data_folder() -> Path | None:
    """DEEPGUARD_TEST_DATA, else `../shared/data` beside the checkout; None where there is no such folder."""
    folder = Path(os.environ.get("DEEPGUARD_TEST_DATA") or CHECKOUT.parent / "shared" / "data")
    return folder if (folder / "stills.csv").is_file() else None


def pictures(folder: Path | None) -> Iterator[tuple[str, Picture]]:
    """(name, RGB uint8 picture). Names begin with "still" or "frame"; the same pictures in every process.

    No picture has sides that are both above 360 px: both finders then see the very same pixels.
    """
    for name, rgb in _shipped() if folder is None else _stored(folder):
        factor = COPY_SIDE_PX / min(rgb.shape[:2])
        size = round(rgb.shape[1] * factor), round(rgb.shape[0] * factor)
        small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA) if factor < 1 else rgb
        yield name, np.asarray(small, dtype=np.uint8)


def _stored(folder: Path) -> Iterator[tuple[str, Picture]]:
    for path in _stills(folder):
        yield f"still {path.name}", _read(path)
    for kind, count in FRAMES_PER_CLIP.items():
        for clip in sorted((folder / kind).glob("*.mp4")):
            yield from _frames(clip, count)


def _stills(folder: Path) -> Iterator[Path]:
    """Evenly spread over the list, as many real ones as fakes."""
    with (folder / "stills.csv").open(newline="", encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    for label in ("real", "fake"):
        paths = [row["path"] for row in rows if row["label"] == label]
        for index in np.linspace(0, len(paths) - 1, STILLS_PER_LABEL).astype(int):
            yield folder / paths[index]


def _shipped() -> Iterator[tuple[str, Picture]]:
    for path in sorted((CHECKOUT / "tests" / "media").glob("*.jpg")):
        rgb = _read(path)
        for height_px in SHIPPED_HEIGHTS_PX:
            width_px = round(rgb.shape[1] * height_px / rgb.shape[0])
            small = cv2.resize(rgb, (width_px, height_px), interpolation=cv2.INTER_AREA)
            yield f"still {path.name} {height_px}", np.asarray(small, dtype=np.uint8)
    yield from _frames(CHECKOUT / "api" / "demo_media" / "sample_call.mp4", SHIPPED_FRAMES)


def _read(path: Path) -> Picture:
    bgr = cv2.imread(str(path))
    return np.ascontiguousarray(bgr[:, :, ::-1]).astype(np.uint8, copy=False)


def _frames(clip: Path, count: int) -> Iterator[tuple[str, Picture]]:
    with av.open(str(clip)) as container:
        total = min(container.streams.video[0].frames, DECODED_PER_FRAME * count)
        wanted = {int((index + 0.5) * total / count) for index in range(count)}
        for index, frame in enumerate(container.decode(video=0)):
            if index in wanted:
                yield f"frame {clip.name} {index}", frame.to_ndarray(format="rgb24")
            if index == total:
                return
