"""A synthetic scene: two official portraits side by side that change places once, one passing in front."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

MEDIA = Path(__file__).parent.parent / "media"
WIDTH_PX, HEIGHT_PX = 1120, 630
NEAR, FAR = "obama", "biden"        # NEAR passes in front of FAR
LASTS_S = 24.0
_HEIGHT_PX = 440
_LEFT_PX, _RIGHT_PX = 300.0, 820.0
_FROM_S, _TO_S = 8.0, 12.0


def centre_px(name: str, at_s: float) -> float:
    """Returns the distance of this person's face centre from the left edge."""
    share = float(np.clip((at_s - _FROM_S) / (_TO_S - _FROM_S), 0, 1))
    start, end = (_LEFT_PX, _RIGHT_PX) if name == NEAR else (_RIGHT_PX, _LEFT_PX)
    return start + (end - start) * share + 7 * np.sin(1.7 * at_s + len(name))


def apart_px(at_s: float) -> float:
    return abs(centre_px(NEAR, at_s) - centre_px(FAR, at_s))


def scene(at_s: float, people: Collection[str] = (FAR, NEAR)) -> NDArray[np.uint8]:
    """Returns uint8 (630, 1120, 3) RGB: the room at this time with these people."""
    rows = np.linspace(90, 140, HEIGHT_PX)[:, None, None]
    rgb = np.broadcast_to(rows * np.array([0.9, 1.0, 1.1]), (HEIGHT_PX, WIDTH_PX, 3)).astype(np.uint8).copy()
    for name in (FAR, NEAR):
        if name in people:
            _draw(rgb, *_cut_out(name), centre_px(name, at_s))
    return rgb


@cache
def _cut_out(name: str) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Returns head and shoulders, and their alpha mask: an oval over a trapezoid."""
    bgr = cv2.imread(str(MEDIA / f"{name}.jpg"))[:700]
    rgb = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
    factor = _HEIGHT_PX / rgb.shape[0]
    rgb = cv2.resize(rgb, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA).astype(np.uint8)
    height, width = rgb.shape[:2]
    mask = np.zeros((height, width), np.float32)
    cv2.ellipse(mask, (width // 2, round(height * 0.45)), (round(width * 0.3), round(height * 0.42)), 0, 0, 360, 1, -1)
    shoulders = np.array([(0, height), (width * 0.2, height * 0.75), (width * 0.8, height * 0.75), (width, height)])
    cv2.fillPoly(mask, [shoulders.astype(np.int32)], 1.0)
    return rgb, cv2.GaussianBlur(mask, (0, 0), 2).astype(np.float32)


def _draw(rgb: NDArray[np.uint8], person: NDArray[np.uint8], mask: NDArray[np.float32], centre: float) -> None:
    height, width = person.shape[:2]
    shift = np.array([[1, 0, centre - width / 2], [0, 1, HEIGHT_PX - height]])
    size = (WIDTH_PX, HEIGHT_PX)
    there = cv2.warpAffine(mask, shift, size)[:, :, None]
    rgb[:] = np.rint(rgb * (1 - there) + cv2.warpAffine(person, shift, size) * there).astype(np.uint8)
