"""Small data sets for training and evaluation, from the public-domain portraits of the tests."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import av
import cv2
import numpy as np

from detector.training.data.datasets import read_rgb
from tests.detector.pictures import MEDIA

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray


def make_folders(root: Path) -> Path:
    """Writes folders of two portraits in several lights and crops, as if they were many people."""
    rng = np.random.default_rng(0)
    for split, name in (("train", "obama"), ("val", "biden")):
        rgb = read_rgb(MEDIA / f"{name}.jpg")
        folder = root / split / "real"
        folder.mkdir(parents=True)
        factor = 420 / rgb.shape[1]
        small = cv2.resize(rgb, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        for index in range(10):
            left, light = int(rng.integers(0, 20)), rng.uniform(0.7, 1.2)
            view = np.rint(small[:, left:] * light).clip(0, 255).astype(np.uint8)
            cv2.imwrite(str(folder / f"{name}-{index}.png"), view[:, :, ::-1])
    return root


def make_pairs(root: Path, count: int) -> None:
    """Clips of a face beside the same face with another mouth, listed as swapped footage is."""
    rows = ["path,group,licence"]
    for number in range(count):
        half = cv2.resize(read_rgb(MEDIA / "biden.jpg"), (240, 300), interpolation=cv2.INTER_AREA)
        half = np.rint(half * (1 - 0.1 * number)).astype(np.uint8)
        swapped = half.copy()
        swapped[140:230, 70:170] = cv2.GaussianBlur(half, (0, 0), 3)[140:230, 70:170]
        _encode(root / f"pair-{number}.mp4", [np.concatenate([half, swapped], axis=1)] * 6)
        rows.append(f"pair-{number}.mp4,somebody-{number},CC0-1.0")
    (root / "video_pairs.csv").write_text("\n".join(rows) + "\n")


def make_tool_pairs(root: Path, people: dict[str, int]) -> None:
    """Writes `tool_pairs.csv` and, for each person of a tool, a still and its swap: blurred mouth, twice the size."""
    rows = ["real,fake,tool,kind,group,use,licence"]
    for tool, count in people.items():
        for number in range(count):
            large = cv2.resize(read_rgb(MEDIA / "biden.jpg"), (480, 600), interpolation=cv2.INTER_AREA)
            large = np.rint(large * (1 - 0.1 * number)).astype(np.uint8)
            real = cv2.resize(large, (240, 300), interpolation=cv2.INTER_AREA)
            large[280:460, 140:340] = cv2.GaussianBlur(large, (0, 0), 6)[280:460, 140:340]
            name = f"{tool}-{number}"
            cv2.imwrite(str(root / f"{name}-real.png"), real[:, :, ::-1])
            cv2.imwrite(str(root / f"{name}-fake.png"), large[:, :, ::-1])
            rows.append(f"{name}-real.png,{name}-fake.png,{tool},still,{name},pairs,CC0-1.0")
    (root / "tool_pairs.csv").write_text("\n".join(rows) + "\n")


def _encode(path: Path, frames: list[NDArray[np.uint8]]) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = frames[0].shape[1], frames[0].shape[0], "yuv420p"
        for rgb in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        container.mux(stream.encode(None))


@contextmanager
def eagerly() -> Iterator[None]:
    """Runs TensorFlow eagerly: for a few steps, building a graph takes longer."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)
