"""A camera that shows a fake face that the shipped model detects, made by the project's own blending.

A portrait's face is blended into itself with other statistics (`detector.training.data.face_blending`), as training
does it. Which
of the many blends that it can make is decided by one seed, chosen among those that the model is sure of, so that an
alarm comes within seconds. Nothing about the alarm itself is arranged: it has to come the whole way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from detector.config import DetectorConfig
from detector.factory import build_finder
from detector.training.data import face_blending
from detector.training.data.datasets import LocatedFace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

SEED = (98, 1)
WIDTH_PX, HEIGHT_PX, FRAMES = 640, 360, 120
_SWAY_PX = 5


def fake_portrait(portrait: Path, face_px: float = 170.0, seed: tuple[int, int] = SEED) -> LocatedFace:
    """The portrait, scaled until its face is so wide, with its face blended into itself: uint8 RGB."""
    finder = build_finder(DetectorConfig())
    rgb = np.ascontiguousarray(cv2.imread(str(portrait))[:, :, ::-1])
    factor = face_px / finder.find(rgb)[0].box.width
    rgb = np.ascontiguousarray(cv2.resize(rgb, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8)
    pair = face_blending.self_blend(np.random.default_rng(seed), LocatedFace(rgb, finder.find(rgb)[0], "one"))
    return LocatedFace(pair.fake, pair.face, "one")


def frames(fake: LocatedFace) -> Iterator[NDArray[np.uint8]]:
    """uint8 (360, 640, 3) RGB: the portrait, swaying a little, so that it is no still picture."""
    x, y = fake.face.box.centre
    for number in range(FRAMES):
        turn = 2 * np.pi * number / FRAMES
        shift = (WIDTH_PX / 2 - x + _SWAY_PX * np.sin(turn), HEIGHT_PX / 2 - y + _SWAY_PX * np.sin(2 * turn) / 2)
        moved = np.array([[1, 0, round(shift[0])], [0, 1, round(shift[1])]], np.float64)
        yield np.asarray(
            cv2.warpAffine(fake.rgb, moved, (WIDTH_PX, HEIGHT_PX), borderMode=cv2.BORDER_REPLICATE), np.uint8
        )


def make_fake_camera(portrait: Path, target: Path) -> None:
    """Writes the frames as motion JPEG, which Chromium's fake camera plays in a loop."""
    fake = fake_portrait(portrait)
    with target.open("wb") as camera:
        for rgb in frames(fake):
            done, jpeg = cv2.imencode(".jpg", rgb[:, :, ::-1], (cv2.IMWRITE_JPEG_QUALITY, 95))
            assert done
            camera.write(jpeg.tobytes())
